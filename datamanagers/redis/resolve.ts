/**
 * Finding out whether EXEC was run whose reply was lost. Its token says so where it is there. That it isn't there is believed only where
 * it can't come any more, and can't have gone.
 *
 * 1. Over another connection the same process of the server, which is known by its `run_id`, is asked to end the lost one: after that
 *    nothing that was sent over it can be run.
 * 2. Then it reads the token.
 * 3. Where it refuses MULTI, as rights may be taken away, what came before the token may have been applied one by one, and its absence means
 *    nothing. (A connection that is opened tries that by itself; the one that is asked may have been open.)
 * 4. Where the server evicts keys, is a replica, or was started anew since, or where the token may have expired, its absence means nothing.
 */
import { persist } from '../sql/persist.ts';
import type { RedisConnection } from './connection.ts';
import { replyCode } from './errors.ts';
import type { CommandMaker } from './maker.ts';
import type { RedisNode } from './node.ts';
import type { RedisServers } from './servers.ts';

/** Whether it was run; `unknown` where that can't be found out. */
export type Ending = 'applied' | 'not applied' | 'unknown';

/** What was lost, and how to find out. */
export interface Question {
  readonly servers: RedisServers;
  readonly maker: CommandMaker;
  /** The server that EXEC was sent to, and the connection over which. */
  readonly node: RedisNode;
  readonly lost: RedisConnection;
  readonly token: string | Buffer;
  readonly ttlMs: number;
  /** When it was sent. */
  readonly sent: Moment;
  /** How long to go on asking, in milliseconds. */
  readonly timeoutMs: number;
}

/** A moment by both clocks: one stands still while the machine sleeps, the other one may be set. */
export interface Moment {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

export function now(): Moment {
  return { monotonicMs: performance.now(), wallMs: Date.now() };
}

/** How long ago a moment was, in milliseconds, by the clock that says longer. */
export function since(moment: Moment): number {
  const { monotonicMs, wallMs } = now();
  return Math.max(monotonicMs - moment.monotonicMs, wallMs - moment.wallMs);
}

/** What a server has said. */
interface Testimony {
  /** Whether the token is there; undefined where the server doesn't know, because the slot has moved. */
  readonly hasToken: boolean | undefined;
  /** It isn't the process that EXEC was sent to. */
  readonly isAnother: boolean;
  /** Nothing that was sent over the lost connection can be run any more, and a token that was written is there. */
  readonly isReliable: boolean;
}

/** Asks until it is known, or the time is up. Never rejects. */
export async function endingOf(question: Question): Promise<Ending> {
  const ending = await persist<Ending>(question.timeoutMs, (leftMs) => within(leftMs, ask(question, leftMs))).catch(
    () => undefined,
  );
  return ending ?? 'unknown';
}

/** What `work` answers, undefined where it takes longer. */
async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), timeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function ask(question: Question, leftMs: number): Promise<Ending | undefined> {
  // One that can't be reached may have a successor, which has the token.
  const testimony = await hear(question, leftMs).catch(() => undefined);
  if (testimony?.hasToken === true) return 'applied';
  if (testimony?.hasToken !== false) return (await isElsewhere(question, leftMs)) ? 'applied' : undefined;
  if (testimony.isAnother) return 'unknown';
  return testimony.isReliable && !mayHaveExpired(question) ? 'not applied' : undefined;
}

/** Has the server that EXEC was sent to end the lost connection, and say whether the token is there: in this order, in one flight. */
async function hear({ node, maker, lost, token }: Question, leftMs: number): Promise<Testimony> {
  // The shared one: when that is lost, everything that was under way over it is asked for at once.
  const connection = node.connection ?? (await node.shared());
  const isKnown = lost.id !== undefined && lost.life !== undefined;
  const isSame = isKnown && connection.life === lost.life;
  const [killed, get, info, multi, exec] = await connection.exchange(
    [
      isSame ? maker.plain('client', 'KILL', 'ID', lost.id) : maker.plain('ping'),
      maker.plain('get', token),
      maker.plain('info'),
      maker.plain('multi'),
      maker.plain('exec'),
    ],
    leftMs,
  );
  if (get!.error !== undefined && !isMoved(get!.error)) throw get!.error;
  return {
    hasToken: get!.error === undefined ? get!.value !== null : undefined,
    isAnother: isKnown && !isSame,
    isReliable:
      isSame &&
      [killed, info, multi, exec].every((reply) => reply!.error === undefined) &&
      keepsKeys(String((info as { value: unknown }).value)),
  };
}

function isMoved(error: Error): boolean {
  return ['MOVED', 'ASK'].includes(replyCode(error) ?? '');
}

/** Whether a key that was written is there until it expires: at a master that evicts none. */
function keepsKeys(info: string): boolean {
  const isMaster = /^role:master/m.test(info);
  const evictsNone = /^(maxmemory:0|maxmemory_policy:noeviction|evicted_keys:0)\s*$/m.test(info);
  return isMaster && evictsNone;
}

/** Whether whoever has the slot now has the token. */
async function isElsewhere({ servers, maker, token }: Question, leftMs: number): Promise<boolean> {
  const reader = await servers.reader();
  const get = maker.plain('get', token);
  reader.sendAll([get], leftMs);
  return (await get.promise) !== null;
}

/** Half of its time is kept as a margin. */
function mayHaveExpired({ sent, ttlMs }: Question): boolean {
  return since(sent) > ttlMs / 2;
}
