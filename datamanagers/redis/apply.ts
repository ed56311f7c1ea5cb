/** MULTI, the commands, EXEC, in one write over one connection; and what the replies mean. */
import type { RedisConnection, Reply } from './connection.ts';
import type { RedisCommand } from './driver.ts';
import type { CommandMaker, WireCommand } from './maker.ts';

/** What became of the commands, as far as the replies tell. */
export type Application =
  /** EXEC has run: the reply to each command, an Error where it failed; and why that didn't depend on the guard, where it didn't. */
  | { readonly kind: 'run'; readonly replies: readonly unknown[]; readonly guardError: Error | undefined }
  /** MULTI was refused by `error`, and yet these replies came: what was to be applied together was applied one by one. */
  | { readonly kind: 'unguarded'; readonly replies: readonly unknown[]; readonly error: Error }
  /** EXEC was not run, because a watched key was changed. */
  | { readonly kind: 'conflict' }
  /** EXEC was not run, because of `error`. */
  | { readonly kind: 'refused'; readonly error: Error }
  /** Nothing was sent. */
  | { readonly kind: 'unsent'; readonly error: Error }
  /** The reply to EXEC didn't come: whether it was run isn't known. Where MULTI was refused, what came before the token may have been applied. */
  | { readonly kind: 'lost'; readonly error: Error; readonly refusal?: Error };

/** What is to be applied. */
export interface Batch {
  readonly commands: readonly WireCommand[];
  /** What is written last, so that it can be seen later that EXEC was run; see `token.ts`. */
  readonly token: WireCommand | undefined;
  /** What goes before MULTI in the same flight: it makes EXEC do nothing where the token is there already. */
  readonly guard?: readonly WireCommand[];
}

const MULTI: WireCommand = { name: 'multi', args: [] };
const EXEC: WireCommand = { name: 'exec', args: [] };
/** For a slot that is being moved here; holds for the next command, and where that is MULTI for all up to EXEC. */
const ASKING: WireCommand = { name: 'asking', args: [] };

/** Applies a batch over a connection. Never rejects. */
export async function apply(
  connection: RedisConnection,
  maker: CommandMaker,
  { commands, token, guard = [] }: Batch,
  timeoutMs: number,
  isRedirected = false,
): Promise<Application> {
  if (connection.lost !== undefined) return { kind: 'unsent', error: connection.lost };
  const asked = (wire: WireCommand): WireCommand[] => (isRedirected ? [ASKING, wire] : [wire]);
  const before = [...guard.flatMap(asked), ...asked(MULTI)];
  const wires = [...before, ...commands, ...(token === undefined ? [] : [token]), EXEC];
  const replies = await connection.exchange(
    wires.map((wire): RedisCommand => maker.raw(wire)),
    timeoutMs,
  );
  const guarding = replies.slice(0, before.length - 1);
  const application = interpret(replies.slice(before.length - 1), commands.length, guarding);
  // Where MULTI was refused, EXEC hasn't forgotten what is watched.
  if (guard.length > 0 && replies[before.length - 1]!.error !== undefined) {
    connection.retire(new Error('the server refused MULTI behind WATCH'), timeoutMs);
  }
  return application;
}

/** What the replies to MULTI, the commands and EXEC mean, and those to what went before. */
function interpret(replies: readonly Reply[], count: number, guarding: readonly Reply[]): Application {
  const exec = replies.at(-1)!;
  if (exec.error === undefined) {
    if (exec.value === null) return { kind: 'conflict' };
    const guardError = guarding.find(({ error }) => error !== undefined)?.error;
    return { kind: 'run', replies: (exec.value as readonly unknown[]).slice(0, count), guardError };
  }
  const multi = replies[0]!;
  if (multi.error !== undefined && !multi.isLost) {
    // The right to MULTI was taken away since the connection was opened.
    const applied = replies.slice(1, count + 1);
    if (applied.some(({ error }) => error === undefined)) {
      return { kind: 'unguarded', replies: applied.map((reply) => reply.error ?? reply.value), error: multi.error };
    }
    return exec.isLost
      ? { kind: 'lost', error: exec.error, refusal: multi.error }
      : { kind: 'refused', error: multi.error };
  }
  if (exec.isLost) return { kind: 'lost', error: exec.error };
  // EXECABORT: what was wrong with a command was said when it was queued.
  const wrong = replies.slice(1, -1).find(({ error }) => error !== undefined)?.error;
  return { kind: 'refused', error: wrong ?? exec.error };
}
