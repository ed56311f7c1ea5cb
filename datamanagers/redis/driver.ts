/**
 * The part of ioredis that is used at run time, by structure: whatever client the application has made, of ioredis 5.4 or later. It is
 * never imported; connections are made by `duplicate()`, and commands by the client's own methods.
 */

/** A client of ioredis: `new Redis(…)` or `new Cluster(…)`. */
export interface RedisClient {
  readonly options: object;
  readonly status: string;
  // `any`: its overloads differ between versions, and between `Redis` and `Cluster`.
  duplicate(...args: any[]): any;
  getBuiltinCommands(): string[];
  defineCommand(name: string, definition: { lua: string; numberOfKeys?: number; readOnly?: boolean }): void;
}

// What follows is there at run time, and not in the types that a user's client is checked against.

/** A command, as ioredis makes it of what its methods are called with: arguments flattened, keys prefixed. */
export interface RedisCommand {
  readonly name: string;
  readonly args: readonly (string | Buffer)[];
  promise: Promise<unknown>;
  readonly callback?: unknown;
  /** Settles it with the server's reply, which it makes into what the user is to get. */
  resolve(reply: unknown): void;
  reject(error: Error): void;
  /** With the client's `keyPrefix`. Empty for commands that ioredis doesn't know. */
  getKeys(): (string | Buffer)[];
  /** ioredis 6: replies differ by protocol. */
  setReplyContext?(context: unknown): void;
  /** Nobody has its promise: whoever sends it gives it `resolve` and `reject`, which get the server's reply as it comes. */
  readonly isRaw?: boolean;
}

export type RedisCommandClass = new (
  name: string,
  args: readonly (string | Buffer)[],
  options?: { readonly replyEncoding?: 'utf8' | null },
) => RedisCommand;

interface Emitter {
  on(event: string, listener: (...args: never[]) => void): unknown;
}

/** A connection: what `duplicate()` of a `Redis` returns. */
export interface NodeClient extends RedisClient, Emitter {
  readonly options: { readonly host?: string; readonly port?: number };
  /** ioredis 6: the protocol that was agreed upon. */
  readonly condition?: unknown;
  readonly stream?: { write(data: string | Buffer): void; destroy(): void };
  connect(): Promise<void>;
  disconnect(): void;
  quit(): Promise<unknown>;
  /** Writes to the socket, or where one is given, to a destination as pipelines have. */
  sendCommand(command: RedisCommand, destination?: object): unknown;
  duplicate(options: object): NodeClient;
}

/** What `duplicate()` of a `Cluster` returns. */
export interface ClusterClient extends RedisClient, Emitter {
  /** Which nodes have a slot, the master first: `host:port`. */
  readonly slots: readonly (readonly string[] | undefined)[];
  nodes(role: 'master' | 'all'): NodeClient[];
  connect(): Promise<void>;
  disconnect(): void;
  sendCommand(command: RedisCommand): unknown;
  refreshSlotsCache(callback: (error?: Error | null) => void): void;
  duplicate(startupNodes: readonly unknown[], options: object): ClusterClient;
}

/** Where the options of a client are that matter here. */
export interface ClientOptions {
  readonly keyPrefix?: string | Buffer | undefined;
  readonly commandTimeout?: number | undefined;
  /** Of a cluster: the options of the connections to its nodes. */
  readonly redisOptions?: { readonly commandTimeout?: number | undefined } | undefined;
  /** Of a cluster: where nodes are to be found from here. */
  readonly natMap?: unknown;
}

/** Whether it is a client of a cluster. */
export function isCluster(client: RedisClient): boolean {
  return (client as { isCluster?: boolean }).isCluster === true;
}

/**
 * What every connection of a session has that the application's may not. A connection that is lost stays lost, and takes with it what was
 * sent over it: nothing is ever sent again, or kept to be sent later (both happen by default: an INCR whose reply was lost is applied twice).
 */
export const CONNECTION_OPTIONS = {
  lazyConnect: true,
  retryStrategy: null,
  reconnectOnError: null,
  autoResendUnfulfilledCommands: false,
  autoResubscribe: false,
  maxRetriesPerRequest: 0,
  enableOfflineQueue: false,
  enableAutoPipelining: false,
  monitor: false,
  readOnly: false,
  // Every wait is bounded by the session's own limits.
  commandTimeout: undefined,
  socketTimeout: undefined,
  blockingTimeout: undefined,
} as const;
