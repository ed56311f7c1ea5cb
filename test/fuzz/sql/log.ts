// What was answered, in a form in which two runs of a script can be compared.
import { isDeepStrictEqual } from 'node:util';

/** An answer: what the database returned, or why it didn't. */
export type Reply = { readonly result: unknown } | { readonly error: unknown };

/** What happened, in order. */
export interface Entry {
  /** The place in the script. */
  readonly where: string;
  readonly what: string;
  readonly reply: Reply;
}

/** An error that the script throws itself. */
export class Thrown extends Error {
  override readonly name = 'Thrown';
}

/** Waits for an answer, whatever it is. */
export async function replyOf(
  asked: () => Promise<unknown>,
  seen: (result: unknown) => unknown,
  failed: (error: Error) => unknown = codeOf,
): Promise<Reply> {
  try {
    return { result: seen(await asked()) };
  } catch (error) {
    return { error: failed(error as Error) };
  }
}

/** What an error of the library is known by; another one by its code or, failing that, by its text. */
export function codeOf(error: Error): string {
  return (error as { code?: string }).code ?? error.message;
}

/** The code of an error of which more is known. */
export function codeIn(reply: Reply): unknown {
  return 'error' in reply ? ((reply.error as { code?: unknown }).code ?? reply.error) : undefined;
}

/** The answer of who would commit in spite of a statement that has failed. */
export function silentRollback(failure: Reply): Reply {
  return { error: { code: SILENT_ROLLBACK, cause: 'error' in failure ? failure.error : undefined } };
}

/** Where each of several databases has its reason to refuse, it is all one which of them is told. */
export function refusedFor(...codes: readonly string[]): Reply {
  return { error: { oneOf: codes } };
}

/** What is compared of an error of the library: its code, and of a commit that was refused what that is said to be due to. */
export function ownFailure(error: Error, failed: (cause: Error) => unknown): unknown {
  const code = codeOf(error);
  return code === SILENT_ROLLBACK && error.cause instanceof Error ? { code, cause: failed(error.cause) } : code;
}

export const SILENT_ROLLBACK = 'ERR_TXN_SILENT_ROLLBACK';

/** The first place where two runs differ, and what went before; undefined where they are alike. */
export function difference(through: readonly Entry[], byHand: readonly Entry[]): string | undefined {
  for (let at = 0; at < Math.max(through.length, byHand.length); at++) {
    const [own, other] = [through[at], byHand[at]];
    if (own !== undefined && other !== undefined && isDeepStrictEqual(own, other)) continue;
    if (own !== undefined && other !== undefined && mayDiffer(own, other)) continue;
    const before = byHand.slice(Math.max(0, at - 12), at).map((entry) => `  ${lineOf(entry)}`);
    return [...before, `by hand:             ${lineOf(other)}`, `through the library: ${lineOf(own)}`].join('\n');
  }
  return undefined;
}

/**
 * What may be said one way or the other: of a failed transaction, whether a session had joined; of a savepoint that can't be made in several
 * databases, which was asked first.
 */
const REFUSALS = [
  ['ERR_TXN_FAILED', 'ERR_TXN_CLOSED'],
  ['25P02', 'ERR_TXN_STATE'],
] as const;

function mayDiffer(own: Entry, other: Entry): boolean {
  if (REFUSALS.some((each) => isOneOf(own, each) && isOneOf(other, each))) return true;
  const { oneOf } = ('error' in other.reply ? other.reply.error : {}) as { oneOf?: readonly unknown[] };
  return oneOf?.includes(codeIn(own.reply)) === true;
}

function isOneOf({ reply }: Entry, codes: readonly string[]): boolean {
  return 'error' in reply && codes.includes(reply.error as string);
}

function lineOf(entry: Entry | undefined): string {
  return entry === undefined ? 'nothing' : `${entry.where} ${entry.what} -> ${JSON.stringify(entry.reply)}`;
}
