/** What became of each write, once the replies to EXEC are there. */
import { TransactionError } from '../../coordinator/errors.ts';
import { mayFailHalfway } from './commands.ts';
import type { Replies } from './commit.ts';
import type { RedisCommand } from './driver.ts';
import { PartlyAppliedError, type RedisCommandInfo } from './errors.ts';
import type { WireCommand } from './maker.ts';

/** A write of a transaction that is still open. */
export interface Write {
  /** The name of the command in lower case, or that of a custom one. */
  readonly name: string;
  /** Whose promise the user may have. */
  readonly command: RedisCommand;
  readonly wire: WireCommand;
  /** With the prefix. */
  readonly keys: readonly (string | Buffer)[];
}

/** How many commands an error names. */
const MOST_NAMED = 10;

/** A key for people. */
export function keyText(key: string | Buffer): string {
  return key.toString();
}

/**
 * Answers every write with its reply. Where the replies were lost, returns what is to be reported.
 *
 * @throws PartlyAppliedError where some were applied and some not; nothing is answered then.
 * @throws The server's error, where the only command, or each of them, failed.
 */
export function settle(name: string, xid: string, writes: readonly Write[], replies: Replies): Error | undefined {
  const { values, context } = replies;
  if (values === undefined) return settleLost(name, xid, writes);
  const failure = failureOf(name, xid, writes, replies, values);
  if (failure !== undefined) throw failure;
  for (const [index, { command }] of writes.entries()) {
    command.setReplyContext?.(context);
    command.resolve(values[index]);
  }
  return undefined;
}

function settleLost(name: string, xid: string, writes: readonly Write[]): Error {
  const error = new TransactionError(
    `EXEC must be answered; the reply of '${name}' was lost, and its token says that it was run: the transaction is committed; what its commands have answered, an error of one of them included, is not known`,
    { resource: name, xid, phase: 'tpcVote' },
  );
  for (const { command } of writes) command.reject(error);
  return error;
}

function failureOf(
  name: string,
  xid: string,
  writes: readonly Write[],
  { unguarded }: Replies,
  values: readonly unknown[],
): Error | undefined {
  const applied: RedisCommandInfo[] = [];
  const failed: (RedisCommandInfo & { readonly error: Error })[] = [];
  let halfway = false;
  for (const [index, { name: command, keys: bytes, wire }] of writes.entries()) {
    const value = values[index];
    const keys = bytes.map(keyText);
    if (value instanceof Error) {
      failed.push({ command, keys, error: Object.assign(value, { command: wire }) });
      halfway ||= mayFailHalfway(wire.name.toLowerCase());
    } else {
      applied.push({ command, keys });
    }
  }
  if (failed.length === 0 && unguarded === undefined) return undefined;
  if (applied.length === 0 && !halfway && unguarded === undefined) return failed[0]!.error;
  const cause = failed[0]?.error ?? unguarded!;
  const why =
    unguarded === undefined
      ? 'Redis rolls nothing back'
      : `the server refused MULTI (${unguarded.message}) and took the commands one by one`;
  return new PartlyAppliedError(
    `all writes of a transaction must be applied or none, and ${why}; at '${name}' ${describe(failed)} failed${halfway ? ' (a script may have written before)' : ''}, ${describe(applied)} stays applied: ` +
      'put that right by hand, and do not repeat the work',
    { applied, failed, cause, resource: name, xid, phase: 'tpcVote' },
  );
}

/** Commands and their keys, with what the server says of those that failed. */
function describe(commands: readonly RedisCommandInfo[]): string {
  if (commands.length === 0) return 'nothing';
  const named = commands
    .slice(0, MOST_NAMED)
    .map(
      ({ command, keys, error }) =>
        `${[command, ...keys].join(' ')}${error === undefined ? '' : ` (${error.message})`}`,
    );
  const more = commands.length - named.length;
  return `${named.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
