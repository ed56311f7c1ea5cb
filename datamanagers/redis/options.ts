/** The options of a session, and what it is made of by them. */
import { ConfigurationError } from '../../coordinator/errors.ts';
import { type Rule, aCount, aDelay, aString, checkOptions } from '../../coordinator/options.ts';
import { ClusterServers } from './cluster.ts';
import type { RedisCore } from './core.ts';
import { type ClientOptions, type RedisClient, isCluster } from './driver.ts';
import { CommandMaker, checkClient } from './maker.ts';
import type { NodeSetup } from './node.ts';
import { StandaloneServer } from './standalone.ts';

/** Options of a Redis session. */
export interface RedisSessionOptions {
  /** Stable name of the resource, in errors and tokens: 1 to 63 of `A-Z a-z 0-9 _ . -`; default `redis`. */
  name?: string | undefined;
  /** How long to wait for a connection, in milliseconds; default 10,000. */
  acquireTimeoutMs?: number | undefined;
  /** How long a read may take, in milliseconds, before its connection is given up; default the client's `commandTimeout`, else 30,000. */
  readTimeoutMs?: number | undefined;
  /** How long the server may take to answer EXEC before the connection is cut and the outcome is looked for, in milliseconds; default 30,000. */
  endTimeoutMs?: number | undefined;
  /** How long to go on finding out whether EXEC was run whose reply was lost, in milliseconds; default 10,000. */
  resolveTimeoutMs?: number | undefined;
  /** How many transactions may watch keys at the same time, on each server; default 10. Each has a connection. */
  maxWatching?: number | undefined;
  /**
   * How long the token of a transaction is kept, in milliseconds: a key that is written with it, by which it can be seen after a lost reply
   * whether it was applied. At least twice the sum of `endTimeoutMs` and `resolveTimeoutMs`; by default that and 20,000 more. `false` writes
   * none: whether a transaction was applied whose reply was lost is then never known.
   */
  tokenTtlMs?: number | false | undefined;
}

const aTtl: Rule = {
  requires: `false or ${aDelay.requires}`,
  accepts: (value) => value === false || (aDelay.accepts(value) && Number.isInteger(value)),
};

const optionRules: Record<keyof RedisSessionOptions, Rule> = {
  name: aString,
  acquireTimeoutMs: aDelay,
  readTimeoutMs: aDelay,
  endTimeoutMs: aDelay,
  resolveTimeoutMs: aDelay,
  maxWatching: aCount,
  tokenTtlMs: aTtl,
};

const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_END_TIMEOUT_MS = 30_000;
const DEFAULT_MAX_WATCHING = 10;
const TTL_MARGIN_MS = 20_000;

/** @throws ConfigurationError when `client` is none of ioredis, or for unknown or impossible options. */
export function checkSessionOptions(client: unknown, options: RedisSessionOptions): void {
  checkOptions('new RedisSession()', options, optionRules);
  checkClient(client);
}

/** What a session is made of. @throws ConfigurationError for options that don't go together. */
export function coreOf(
  client: RedisClient,
  name: string,
  options: RedisSessionOptions,
): RedisCore & { detectWrites: boolean } {
  const given = client.options as ClientOptions;
  const setup: NodeSetup = {
    name,
    maker: new CommandMaker(client),
    isCluster: isCluster(client),
    acquireTimeoutMs: options.acquireTimeoutMs ?? DEFAULT_TIMEOUT_MS,
    readTimeoutMs:
      options.readTimeoutMs ?? given.commandTimeout ?? given.redisOptions?.commandTimeout ?? DEFAULT_END_TIMEOUT_MS,
    endTimeoutMs: options.endTimeoutMs ?? DEFAULT_END_TIMEOUT_MS,
    maxWatching: options.maxWatching ?? DEFAULT_MAX_WATCHING,
  };
  const resolveTimeoutMs = options.resolveTimeoutMs ?? DEFAULT_TIMEOUT_MS;
  const leastTtlMs = 2 * (setup.endTimeoutMs + resolveTimeoutMs);
  const { tokenTtlMs = Math.ceil(leastTtlMs) + TTL_MARGIN_MS } = options;
  if (tokenTtlMs !== false && tokenTtlMs < leastTtlMs) {
    throw new ConfigurationError(
      `tokenTtlMs must be at least twice the sum of endTimeoutMs and resolveTimeoutMs, ${leastTtlMs} ms, in which the token may be looked for; it is ${tokenTtlMs} ms`,
    );
  }
  return {
    ...setup,
    servers: setup.isCluster ? new ClusterServers(client, setup) : new StandaloneServer(client, setup),
    keyPrefix: given.keyPrefix ?? '',
    resolveTimeoutMs,
    tokenTtlMs,
    detectWrites: true,
  };
}
