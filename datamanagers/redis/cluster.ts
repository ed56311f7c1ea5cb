/** A Redis Cluster. Its map of slots is kept by a `Cluster` of ioredis, which reads go through; writes go to the node itself. */
import { outside } from '../../coordinator/context.ts';
import { ConnectionLostError, toError } from '../../coordinator/errors.ts';
import type { Awaitable } from '../../coordinator/types.ts';
import { watch } from '../sql/watch.ts';
import { connectionLost } from './connection.ts';
import {
  CONNECTION_OPTIONS,
  type ClientOptions,
  type ClusterClient,
  type NodeClient,
  type RedisClient,
  type RedisCommand,
} from './driver.ts';
import { RedisNode, type NodeSetup, closedError } from './node.ts';
import type { CommandSender, Redirection, RedisServers } from './servers.ts';
import { slotOf } from './slot.ts';

export class ClusterServers implements RedisServers, CommandSender {
  readonly #client: ClusterClient;
  readonly #setup: NodeSetup;
  /** By `host:port`. */
  readonly #nodes = new Map<string, RedisNode>();
  #cluster: ClusterClient | undefined = undefined;
  #connecting: Promise<ClusterClient> | undefined = undefined;
  #onReady: (() => void) | undefined = undefined;
  #lastError: Error | undefined = undefined;
  #closed = false;

  constructor(client: RedisClient, setup: NodeSetup) {
    this.#client = client as ClusterClient;
    this.#setup = setup;
  }

  slotOf(key: string | Buffer): number {
    return slotOf(key);
  }

  reader(): Awaitable<CommandSender> {
    return this.#cluster?.status === 'ready' ? this : this.#connect().then(() => this);
  }

  /** ioredis sends a read again where a slot has moved, which changes nothing. */
  sendAll(commands: readonly RedisCommand[], timeoutMs: number): void {
    const cluster = this.#cluster!;
    for (const command of commands) {
      const late = (): void => command.reject(connectionLost(this.#setup.name, tooLate(timeoutMs)));
      const forget = watch(timeoutMs, late);
      command.promise.then(forget, forget);
      const sent = cluster.sendCommand(command);
      if (sent !== command.promise && sent instanceof Promise) sent.catch(() => undefined);
    }
  }

  async nodeOf(slot: number | undefined): Promise<RedisNode> {
    const cluster = this.#cluster?.status === 'ready' ? this.#cluster : await this.#connect();
    let node = this.#ownerOf(cluster, slot ?? 0);
    if (node === undefined) {
      // ioredis forgets a node whose connection has ended, and asks again only when it sends something there.
      await this.#refresh(cluster);
      node = this.#ownerOf(cluster, slot ?? 0);
    }
    if (node !== undefined) return node;
    throw new ConnectionLostError(
      `every slot of a cluster must have a node; that of '${this.#setup.name}' has none for slot ${slot} now, and nothing was sent`,
      { resource: this.#setup.name },
    );
  }

  anyNode(): RedisNode | undefined {
    return this.#cluster?.status === 'ready' ? this.#ownerOf(this.#cluster, 0) : undefined;
  }

  #ownerOf(cluster: ClusterClient, slot: number): RedisNode | undefined {
    const address = cluster.slots[slot]?.[0];
    const node = cluster.nodes('all').find((each) => addressOf(each) === address);
    return address === undefined || node === undefined
      ? undefined
      : this.#node(address, (options) => node.duplicate(options));
  }

  #refresh(cluster: ClusterClient): Promise<void> {
    const { name, acquireTimeoutMs } = this.#setup;
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => reject(connectionLost(name, error));
      const timer = setTimeout(() => fail(tooLate(acquireTimeoutMs)), acquireTimeoutMs);
      cluster.refreshSlotsCache((error) => {
        clearTimeout(timer);
        if (error) fail(error);
        else resolve();
      });
    });
  }

  #node(address: string, duplicate: (options: object) => NodeClient): RedisNode {
    let node = this.#nodes.get(address);
    if (node === undefined) {
      node = new RedisNode(duplicate, this.#setup);
      this.#nodes.set(address, node);
    }
    return node;
  }

  redirection(error: Error): Redirection | undefined {
    const [, kind, host, port] = /^(ASK|MOVED) \d+ (.+):(\d+)$/.exec(error.message) ?? [];
    const cluster = this.#cluster;
    const any = cluster?.nodes('all')[0];
    // Whoever comes next goes there by itself.
    if (kind === 'MOVED') cluster?.refreshSlotsCache(() => undefined);
    if (host === undefined || any === undefined) return undefined;
    const own = { host, port: Number(port), ...natMapped(this.#client.options, `${host}:${port}`) };
    const node = this.#node(`${own.host}:${own.port}`, (options) => any.duplicate({ ...options, ...own }));
    return { node, isAsked: kind === 'ASK' };
  }

  #connect(): Promise<ClusterClient> {
    if (this.#closed) return Promise.reject(closedError(this.#setup.name));
    this.#connecting ??= this.#becomeReady().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  /** Waits until the cluster is known; ioredis goes on trying in the background. */
  async #becomeReady(): Promise<ClusterClient> {
    const { name, acquireTimeoutMs } = this.#setup;
    if (this.#cluster?.status === 'end') this.#cluster = undefined;
    const cluster = (this.#cluster ??= outside(() => this.#duplicate()));
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#onReady = resolve;
        timer = setTimeout(() => reject(this.#lastError ?? tooLate(acquireTimeoutMs)), acquireTimeoutMs);
      });
      return cluster;
    } catch (error) {
      const cause = toError(error);
      throw new ConnectionLostError(
        `a transaction needs a connection to Redis; the cluster '${name}' could not be reached (${cause.message}), and nothing was sent`,
        { cause, resource: name },
      );
    } finally {
      clearTimeout(timer);
    }
  }

  #duplicate(): ClusterClient {
    const { redisOptions } = this.#client.options as ClientOptions;
    const cluster = this.#client.duplicate([], {
      lazyConnect: true,
      enableAutoPipelining: false,
      shardedSubscribers: false,
      // What a transaction reads is what it decides by: replicas lag behind.
      scaleReads: 'master',
      redisOptions: { ...redisOptions, ...CONNECTION_OPTIONS },
    });
    const failed = (error: Error): void => {
      this.#lastError = error;
    };
    cluster.on('error', failed);
    cluster.on('node error', failed);
    cluster.on('ready', () => this.#onReady?.());
    cluster.on('-node', (node: NodeClient) => {
      const address = addressOf(node);
      this.#nodes.get(address)?.close();
      this.#nodes.delete(address);
    });
    cluster.connect().catch(() => undefined);
    return cluster;
  }

  close(): void {
    this.#closed = true;
    for (const node of this.#nodes.values()) node.close();
    this.#nodes.clear();
    this.#cluster?.disconnect();
  }
}

function addressOf({ options }: NodeClient): string {
  return `${options.host}:${options.port}`;
}

function tooLate(timeoutMs: number): Error {
  return new Error(`no answer came within ${timeoutMs} ms`);
}

/** Where the node that the cluster knows by `address` is to be found from here. */
function natMapped(options: object, address: string): { host: string; port: number } | undefined {
  const { natMap } = options as { natMap?: NatMap };
  return (typeof natMap === 'function' ? natMap(address) : natMap?.[address]) ?? undefined;
}

type Address = { host: string; port: number };
type NatMap = ((address: string) => Address | null) | Record<string, Address>;
