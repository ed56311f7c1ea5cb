/**
 * The commands of a session, as ioredis types them. Its types are needed by those who use this subpath, who have it; nothing of it is
 * needed at run time.
 */
import type { Redis, RedisCommander } from 'ioredis';
import type { Buffered } from './buffered.ts';
import type { ReadName, RefusedName } from './commands.ts';

export type { ChainableCommander, RedisKey } from 'ioredis';

declare module 'ioredis/built/utils/RedisCommander.js' {
  // Here ioredis looks up what a command returns, for each kind of thing that has commands.
  interface ResultTypes<Result, Context> {
    unanimous: Buffered<Result>;
  }
}

type WithBuffer<Name extends string> = Name | `${Name}Buffer`;
type Immediate = RedisCommander<{ type: 'default' }>;
type Kept = RedisCommander<{ type: 'unanimous' }>;

/** The commands that only read: sent at once, answered as ioredis does. */
export type RedisReads = Pick<Immediate, Extract<keyof Immediate, WithBuffer<ReadName>>>;

/** The commands that may write, custom ones among them: kept until the transaction commits. */
export type RedisWrites = Pick<
  Kept,
  Exclude<keyof Kept, WithBuffer<ReadName> | WithBuffer<RefusedName> | WithBuffer<'call'>>
>;

/** What a command that is called by its name answers with, as far as the name is known: nothing else is sent at once. */
export type CallResult<Name extends string> = string extends Name
  ? Promise<unknown> | Buffered<unknown>
  : Lowercase<Name> extends ReadName
    ? Promise<unknown>
    : Buffered<unknown>;

/** Streams of what SCAN and its like find, as ioredis makes them. */
export type RedisScans = Pick<
  Redis,
  | 'scanStream'
  | 'scanBufferStream'
  | 'sscanStream'
  | 'sscanBufferStream'
  | 'hscanStream'
  | 'hscanBufferStream'
  | 'zscanStream'
  | 'zscanBufferStream'
>;

/** Everything that a session can be asked to do with data. */
export interface RedisCommands extends RedisReads, RedisWrites, RedisScans {}
