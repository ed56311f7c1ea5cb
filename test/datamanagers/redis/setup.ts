// A Redis of its own for a test file: a session over a client, beside it a client that sees what is there, and between the session
// and the server a proxy.
import { Redis, type RedisOptions } from 'ioredis';
import { register, type RegisterOptions } from 'unanimous';
import { RedisSession, type RedisSessionOptions } from 'unanimous/redis';
import { startRedis, type PrivateRedis } from '../../support/servers.ts';
import { tcpProxy, type Link, type TcpProxy } from '../../support/proxy.ts';
import { assert } from '../../support/suite.ts';

export type StoreOptions = RedisSessionOptions & {
  readonly client?: RedisOptions;
  readonly register?: RegisterOptions;
  /** Flags of the server. */
  readonly flags?: readonly string[];
};

/** How the server knows the connections of sessions. */
const CONNECTION_NAME = 'session';

/** A server, and whoever works on it. */
export class Store {
  readonly server: PrivateRedis;
  readonly proxy: TcpProxy;
  /** The application's: it is never connected, as a session has connections of its own. */
  readonly client: Redis;
  readonly session: RedisSession;
  /** Sees the server without the session and the proxy. */
  readonly admin: Redis;
  readonly #others: RedisSession[] = [];

  private constructor(server: PrivateRedis, proxy: TcpProxy, options: StoreOptions) {
    const { client, register: registration, flags: _, ...session } = options;
    this.server = server;
    this.proxy = proxy;
    this.client = new Redis(proxy.port, { lazyConnect: true, connectionName: CONNECTION_NAME, ...client });
    this.session = register(new RedisSession(this.client, session), registration);
    this.admin = new Redis(server.port);
    this.admin.on('error', () => undefined);
  }

  static async open(options: StoreOptions = {}): Promise<Store> {
    const server = await startRedis(options.flags === undefined ? {} : { flags: options.flags });
    return new Store(server, await tcpProxy(server.port), options);
  }

  /** Another session on the same server, over a client of its own. */
  another({ client, register: registration, ...options }: Omit<StoreOptions, 'flags'> = {}): RedisSession {
    const own = new Redis(this.proxy.port, { lazyConnect: true, connectionName: CONNECTION_NAME, ...client });
    const session = register(new RedisSession(own, options), registration);
    this.#others.push(session);
    return session;
  }

  /** The connections of sessions that the server knows; Redis 7.4 says how many keys they watch. */
  async connections(): Promise<{ id: string; command: string; multi: string; watches: number }[]> {
    const clients = String(await this.admin.client('LIST'))
      .trim()
      .split('\n');
    return clients
      .map((line) => Object.fromEntries(line.split(' ').map((pair) => pair.split('='))) as Record<string, string>)
      .filter(({ name }) => name === CONNECTION_NAME)
      .map(({ id, cmd, multi, watch }) => ({ id: id!, command: cmd!, multi: multi!, watches: Number(watch ?? 0) }));
  }

  /** Ends the server's side of the sessions' connections. */
  async kill(): Promise<void> {
    for (const { id } of await this.connections()) await this.admin.client('KILL', 'ID', id);
  }

  /** All keys but tokens, and texts behind them. */
  async contents(): Promise<Record<string, string>> {
    const contents: Record<string, string> = {};
    for (const key of (await this.admin.keys('*')).toSorted()) {
      if (!isToken(key)) contents[key] = String(await this.admin.get(key).catch((error: Error) => error.message));
    }
    return contents;
  }

  async tokens(): Promise<string[]> {
    return (await this.admin.keys('*')).filter(isToken);
  }

  /** Nothing is in the middle of anything, and no more connections are open than may be (pitfall 5). */
  async assertClean(most = 11): Promise<void> {
    await assert.eventually(async () => {
      const connections = await this.connections();
      assert.ok(connections.length <= most, `${connections.length} connections are open`);
      assert.equal(
        connections.filter(({ multi }) => multi !== '-1'),
        [],
        'no connection is inside of MULTI',
      );
      assert.equal(
        connections.filter(({ watches }) => watches > 0),
        [],
        'no connection watches',
      );
    });
  }

  async close(): Promise<void> {
    for (const session of [this.session, ...this.#others]) await session.close();
    this.client.disconnect();
    this.admin.disconnect();
    await this.proxy.close();
    await this.server.stop();
  }
}

function isToken(key: string): boolean {
  return key.includes('unanimous:token:');
}

/** Calls `act` for the first piece of data from the client that holds `text`; what `act` answers decides whether it passes. */
export function onText(proxy: TcpProxy, text: string, act: (link: Link, data: Buffer) => void | boolean): void {
  proxy.onClientData = (data, link) => {
    if (!data.toString('latin1').toLowerCase().includes(text.toLowerCase())) return undefined;
    proxy.onClientData = undefined;
    return act(link, data);
  };
}

/** What a promise rejected with; fails where it didn't. */
export async function rejection<E extends Error = Error>(promise: PromiseLike<unknown>): Promise<E> {
  return (await assert.rejects(promise)) as E;
}

/** Accepts an error whose message matches. */
export function says(pattern: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof Error && pattern.test(error.message);
}
