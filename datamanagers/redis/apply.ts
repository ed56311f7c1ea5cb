/** MULTI, the commands, EXEC, in one write over one connection; and what the replies mean. */
import type { RedisConnection, Reply } from './connection.ts';
import type { RedisCommand } from './driver.ts';
import type { CommandMaker, WireCommand } from './maker.ts';

/** What became of the commands, as far as the replies tell. */
export type Application =
  /** EXEC has run: the reply to each command, an Error where it failed. */
  | { readonly kind: 'run'; readonly replies: readonly unknown[] }
  /** MULTI was refused by `error`, and yet these replies came: what was to be applied together was applied one by one. */
  | { readonly kind: 'unguarded'; readonly replies: readonly unknown[]; readonly error: Error }
  /** EXEC was not run, because a watched key was changed. */
  | { readonly kind: 'conflict' }
  /** EXEC was not run, because of `error`. */
  | { readonly kind: 'refused'; readonly error: Error }
  /** Nothing was sent. */
  | { readonly kind: 'unsent'; readonly error: Error }
  /** The reply to EXEC didn't come: whether it was run isn't known. */
  | { readonly kind: 'lost'; readonly error: Error };

/** What is to be applied. */
export interface Batch {
  readonly commands: readonly WireCommand[];
  /** What is written last, so that it can be seen later that EXEC was run; see `token.ts`. */
  readonly token: WireCommand | undefined;
}

/** Applies a batch over a connection. Never rejects. */
export async function apply(
  connection: RedisConnection,
  maker: CommandMaker,
  { commands, token }: Batch,
  timeoutMs: number,
  isRedirected = false,
): Promise<Application> {
  if (connection.lost !== undefined) return { kind: 'unsent', error: connection.lost };
  const queued = [...commands, ...(token === undefined ? [] : [token])];
  const sent: RedisCommand[] = [
    // For a slot that is being moved here; holds for the whole of MULTI.
    ...(isRedirected ? [maker.raw({ name: 'asking', args: [] })] : []),
    ...[{ name: 'multi', args: [] }, ...queued, { name: 'exec', args: [] }].map((each) => maker.raw(each)),
  ];
  const replies = (await connection.exchange(sent, timeoutMs)).slice(isRedirected ? 1 : 0);
  return interpret(replies, commands.length);
}

function interpret(replies: readonly Reply[], count: number): Application {
  const exec = replies.at(-1)!;
  if (exec.error === undefined) {
    if (exec.value === null) return { kind: 'conflict' };
    return { kind: 'run', replies: (exec.value as readonly unknown[]).slice(0, count) };
  }
  const multi = replies[0]!;
  if (multi.error !== undefined && !multi.isLost) {
    // The right to MULTI was taken away since the connection was opened.
    const applied = replies.slice(1, count + 1);
    if (applied.some(({ error }) => error === undefined)) {
      return { kind: 'unguarded', replies: applied.map((reply) => reply.error ?? reply.value), error: multi.error };
    }
    return exec.isLost ? { kind: 'lost', error: exec.error } : { kind: 'refused', error: multi.error };
  }
  if (exec.isLost) return { kind: 'lost', error: exec.error };
  // EXECABORT: what was wrong with a command was said when it was queued.
  const wrong = replies.slice(1, -1).find(({ error }) => error !== undefined)?.error;
  return { kind: 'refused', error: wrong ?? exec.error };
}
