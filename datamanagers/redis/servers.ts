/** What a session needs of Redis, whether that is one server or a cluster of them. */
import type { Awaitable } from '../../coordinator/types.ts';
import type { RedisCommand } from './driver.ts';
import type { RedisNode } from './node.ts';

/** Something to send commands over that only read. */
export interface CommandSender {
  /** Sends commands in order; each settles by itself, at the latest when `timeoutMs` have passed. */
  sendAll(commands: readonly RedisCommand[], timeoutMs: number): void;
}

/** Who has a slot now, or is being given it. */
export interface Redirection {
  readonly node: RedisNode;
  /** Whether the slot is still being moved there (ASK). */
  readonly isAsked: boolean;
}

export interface RedisServers {
  /** The slot of a key; undefined where there are none, and every key is at the same server. */
  slotOf(key: string | Buffer): number | undefined;
  /** What to read over. Answers synchronously where it is connected, so that reads are sent in the order of their calls. */
  reader(): Awaitable<CommandSender>;
  /** Who has a slot. @throws ConnectionLostError where nobody has it, or that can't be found out in time. */
  nodeOf(slot: number | undefined): Awaitable<RedisNode>;
  /** Some node; undefined where that would have to be found out first. */
  anyNode(): RedisNode | undefined;
  /** Where an error of the server sends us, because a slot was moved or is being moved; undefined for any other error. */
  redirection(error: Error): Redirection | undefined;
  /** Closes all connections. */
  close(): void;
}
