/** `unanimous/redis`: Redis by `ioredis`. */
export { RedisSession } from './session.ts';
export type { RedisSessionOptions } from './options.ts';
export { Buffered } from './buffered.ts';
export {
  PartlyAppliedError,
  WatchConflictError,
  type PartlyAppliedDetails,
  type RedisCommandInfo,
  type WatchConflictDetails,
} from './errors.ts';
export type { RedisClient } from './driver.ts';
export type { ScriptDefinition } from './maker.ts';
export type { CallResult, RedisCommands, RedisReads, RedisScans, RedisWrites } from './surface.ts';
