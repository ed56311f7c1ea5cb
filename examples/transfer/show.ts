// The show: many transfers at once, some of which fail on purpose; then the count, and what is left in the databases.
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { transaction } from 'unanimous';
import { type Finding, describe, indent, showFindings } from '../support/findings.ts';
import { Progress, heading, number, paint, say, table } from '../support/terminal.ts';
import { killAndRecover } from './crash.ts';
import { type Databases, checkInvariants } from './invariants.ts';
import { cross, isIntended, killBeforeVote, killInTheMiddle, ordinary, overdraw, swallow } from './mishaps.ts';
import { accounts, createTables, openingBalance } from './tables.ts';
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
    const { tally, seconds, findings } = await transferAll(databases);
    showErrors(tally);
    await showSummary(tally, seconds, databases.bank);
    const verdict = 'Every transfer is in both databases or in neither.';
    const isSound = showFindings(findings, verdict);
    const recovered = await killAndRecover(databases, tally.committed);
    return showFindings(recovered, verdict) && isSound;
  } finally {
    await close();
    await untilAlone(databases.bank);
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
  const pool = new pg.Pool({ connectionString: process.env[variable], max: 1, application_name: 'looking on' });
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

/** Waits until the application's connections have ended at the server too, but not for long. */
async function untilAlone(administrator: pg.Pool): Promise<void> {
  for (const end = performance.now() + 1_000; performance.now() < end; await sleep(10)) {
    const { rowCount } = await administrator.query(
      "select from pg_stat_activity where backend_type = 'client backend' and application_name <> 'looking on'",
    );
    if (rowCount === 0) break;
  }
}

/** A server's process reports its deadlocks when it has been idle for a second. */
async function deadlocks(administrator: pg.Pool): Promise<number> {
  await sleep(1_000);
  const { rows } = await administrator.query<{ deadlocks: number }>(
    "select deadlocks::int from pg_stat_database where datname = 'bank'",
  );
  return rows[0]!.deadlocks;
}
