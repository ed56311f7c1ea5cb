// The show: many transfers at once, some of which fail on purpose; then the count, and what is left in the databases.
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { TransactionError, transaction } from 'unanimous';
import { type Databases, type Finding, checkInvariants } from './invariants.ts';
import { cross, isIntended, killBeforeVote, killInTheMiddle, ordinary, overdraw, swallow } from './mishaps.ts';
import { accounts, createTables, openingBalance } from './tables.ts';
import { Progress, heading, number, paint, say, table } from './terminal.ts';
import { close } from './transfer.ts';

const transfers = 400;
const concurrency = 12;
/** On a slow machine there are fewer transfers, so that the show stays short. */
const longestMs = 3_000;

const kinds = {
  insufficient: 'insufficient funds: thrown by the application',
  swallowed: 'a failed statement whose error is swallowed',
  deadlock: 'a deadlock: two transfers lock the same accounts in opposite order',
  terminated: "a server's process is terminated in the middle of a transaction",
} as const;
type Kind = keyof typeof kinds;

/** What is counted while it runs. */
class Tally {
  committed = 0;
  aborted = 0;
  retries = 0;
  terminated = 0;
  /** The first error of each kind. */
  readonly errors = new Map<Kind, Error>();
  readonly unexpected: unknown[] = [];

  get done(): number {
    return this.committed + this.aborted;
  }

  see(kind: Kind, error: unknown): void {
    if (error instanceof Error && !this.errors.has(kind)) this.errors.set(kind, error);
  }

  end(result: PromiseSettledResult<void>, kind?: Kind): void {
    if (result.status === 'fulfilled') {
      this.committed++;
      return;
    }
    this.aborted++;
    if (kind !== undefined) this.see(kind, result.reason);
    if (!isIntended(result.reason)) this.unexpected.push(result.reason);
  }
}

/** Runs the show; false when an invariant doesn't hold. */
export async function show(): Promise<boolean> {
  const databases = { bank: plainPool('BANK_URL'), audit: plainPool('AUDIT_URL') };
  try {
    const { tally, seconds, findings } = await transferAll(databases).finally(close);
    showErrors(tally);
    await showSummary(tally, seconds, databases.bank);
    return showFindings(findings);
  } finally {
    await Promise.all([databases.bank.end(), databases.audit.end()]);
  }
}

async function transferAll(databases: Databases): Promise<{ tally: Tally; seconds: number; findings: Finding[] }> {
  await createTables();
  say(`    ${accounts} accounts have ${number(openingBalance)} each`);
  const tally = new Tally();
  // Told of every transaction of this context, and of those that run() begins inside of it.
  transaction.registerSynch({
    afterCompletion: (txn) => {
      if (txn.attempt > 1 && (txn.status === 'committed' || txn.status === 'aborted')) tally.retries++;
    },
  });

  heading(`${number(transfers)} transfers, ${concurrency} at a time`);
  const startedAt = performance.now();
  await runAll(tally, databases.bank);
  const seconds = (performance.now() - startedAt) / 1000;
  const findings = await checkInvariants(databases, tally.committed);
  findings.push({
    holds: tally.unexpected.length === 0,
    what: 'nothing failed but what was meant to',
    seen: `${tally.unexpected.length} other errors`,
  });
  return { tally, seconds, findings };
}

/** A connection that knows nothing of transactions here. */
function plainPool(variable: string): pg.Pool {
  const pool = new pg.Pool({ connectionString: process.env[variable], max: 1 });
  // end() doesn't wait until the server has taken leave, and the server is stopped right after it.
  pool.on('error', () => undefined);
  return pool;
}

async function runAll(tally: Tally, administrator: pg.Pool): Promise<void> {
  const progress = new Progress(transfers);
  const end = performance.now() + longestMs;
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < transfers && performance.now() < end) {
      await runOne(next++, tally, administrator, () => next++);
      progress.show(
        tally.done,
        `${number(tally.committed)} committed, ${number(tally.aborted)} aborted, ${number(tally.retries)} tried again`,
      );
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  progress.end();
}

/** Most transfers are ordinary. Two in a hundred each swallow an error, meet in a deadlock, or lose their connection. */
async function runOne(index: number, tally: Tally, administrator: pg.Pool, takeAnother: () => void): Promise<void> {
  const seenAs = (kind: Kind) => (error: unknown) => tally.see(kind, error);
  const settle = async (work: Promise<void>, kind?: Kind): Promise<void> => {
    const [result] = await Promise.allSettled([work]);
    tally.end(result, kind);
  };
  if (index % 10 === 3) return settle(overdraw(), 'insufficient');
  switch (index % 50) {
    case 7:
      return settle(swallow(), 'swallowed');
    case 17:
      tally.terminated++;
      return settle(killInTheMiddle(seenAs('terminated'), administrator));
    case 27:
      takeAnother();
      for (const result of await cross(seenAs('deadlock'))) tally.end(result);
      return;
    case 37:
      tally.terminated++;
      return settle(killBeforeVote(seenAs('terminated'), administrator));
    default:
      return settle(ordinary());
  }
}

const consequences: Record<Kind, string> = {
  insufficient: 'aborted: nothing of it is in either database',
  swallowed: 'aborted: PostgreSQL would have answered COMMIT with a rollback, and no error',
  deadlock: 'tried again by run(), and committed',
  terminated: 'tried again by run() on another connection, and committed',
};

function showErrors(tally: Tally): void {
  heading('What went wrong on purpose: the first of each, as it was thrown');
  for (const kind of Object.keys(kinds) as Kind[]) {
    const error = tally.errors.get(kind);
    say(`  ${paint('yellow', kinds[kind])}`);
    say(indent(error === undefined ? 'did not happen this time' : describe(error)));
    if (error !== undefined) say(`    ${paint('dim', `→ ${consequences[kind]}`)}`);
  }
  for (const error of tally.unexpected.slice(0, 3)) {
    say(`  ${paint('red', 'not on purpose')}`);
    say(indent(error instanceof Error ? (error.stack ?? error.message) : String(error)));
  }
}

/** An error on a line: its class, its code, its message, and those that led to it. */
function describe(error: Error): string {
  const code = (error as { code?: unknown }).code;
  const isCoded = error instanceof TransactionError || 'severity' in error;
  const cause = error.cause instanceof Error ? `\ncause: ${describe(error.cause)}` : '';
  return `${error.name}${isCoded ? ` ${String(code)}` : ''}: ${error.message}${cause}`;
}

function indent(text: string): string {
  return wrap(text, Math.max(60, Math.min(process.stdout.columns || 100, 120)) - 6)
    .map((line) => `    ${line}`)
    .join('\n');
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split('\n')) {
    let line = '';
    for (const word of paragraph.split(' ')) {
      if (line !== '' && line.length + 1 + word.length > width) {
        lines.push(line);
        line = `  ${word}`;
      } else line = line === '' ? word : `${line} ${word}`;
    }
    lines.push(line);
  }
  return lines;
}

async function showSummary(tally: Tally, seconds: number, administrator: pg.Pool): Promise<void> {
  heading('Summary');
  table([
    ['transfers', tally.done],
    ['committed', tally.committed, 'in both databases, by two-phase commit'],
    ['aborted', tally.aborted, 'in neither'],
    ['tried again', tally.retries, 'attempts after the first'],
    ['deadlocks', await deadlocks(administrator), 'as PostgreSQL counted them'],
    ['terminated', tally.terminated, "server's processes, each in the middle of a transaction"],
    ['seconds', seconds.toFixed(1)],
    ['transfers a second', tally.done / seconds],
  ]);
}

/** A server's process reports its deadlocks when it ends, so this waits for that, but not for long. */
async function deadlocks(administrator: pg.Pool): Promise<number> {
  for (const end = performance.now() + 1_000; performance.now() < end;) {
    const { rowCount } = await administrator.query(
      "select from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() and datname = 'bank'",
    );
    if (rowCount === 0) break;
    await sleep(10);
  }
  const { rows } = await administrator.query<{ deadlocks: number }>(
    "select deadlocks::int from pg_stat_database where datname = 'bank'",
  );
  return rows[0]!.deadlocks;
}

function showFindings(findings: readonly Finding[]): boolean {
  heading('What is left in the databases');
  const width = Math.max(...findings.map(({ what }) => what.length));
  for (const { holds, what, seen } of findings) {
    const mark = holds ? paint('green', '✓ holds ') : paint('red', '✗ BROKEN');
    say(`  ${mark}  ${what.padEnd(width)}  ${paint('dim', seen)}`);
  }
  const isSound = findings.every(({ holds }) => holds);
  say();
  say(
    isSound
      ? paint('green', 'Every transfer is in both databases or in neither.')
      : paint('red', 'An invariant is broken.'),
  );
  return isSound;
}
