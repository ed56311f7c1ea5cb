// The process of silence.test.ts: transactions that have come to some point when nothing arrives any more and nothing is answered. Says for
// each what its caller was told, and after how long.
import driver from 'mysql2/promise';
import pg from 'pg';
import { TransactionCoordinator, register } from 'unanimous';
import { MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import type { BankName } from '../soak/setting.ts';

/** What the parent is told. */
export type Word = { readonly is: 'waiting' } | Told;

export interface Told {
  readonly is: 'told';
  readonly what: Silence;
  /** The error's code; `committed` where there was none. */
  readonly how: string;
  readonly ms: number;
}

const [urlsText, namesText, firstRow] = process.argv.slice(2);
const urls = JSON.parse(urlsText!) as { readonly [B in BankName]: string };
const names = JSON.parse(namesText!) as readonly Silence[];

const PATIENCE = { acquireTimeoutMs: 3_000, endTimeoutMs: 1_500, resolveTimeoutMs: 1_000 };
/** Of those that have one; it takes up to there until all have come to their point. */
const DEADLINE_MS = 5_000;

const say = (word: Word): void => void process.send?.(word);

const coordinator = new TransactionCoordinator({ app: 'silence', onError: () => undefined });

function postgres(name: BankName): PgSession {
  const pool = new pg.Pool({ connectionString: urls[name], max: 20, connectionTimeoutMillis: 3_000 });
  pool.on('error', () => undefined);
  return register(new PgSession(pool, { name, ...PATIENCE }), { coordinator });
}

const a = postgres('a');
const b = postgres('b');
const mysqlPool = driver.createPool({ uri: urls.c, connectionLimit: 20, connectTimeout: 3_000 });
const c = register(new MysqlSession(mysqlPool, { name: 'c', ...PATIENCE }), { coordinator });
coordinator.configure({
  decisionLog: new PgDecisionLog(a, { timeoutMs: 1_500 }),
  decisionTimeoutMs: 1_000,
  recovery: { leaseMs: 2_000, everyMs: 500 },
});

/** Each has rows of its own: the servers have not noticed yet that those of another process are gone. */
let row = Number(firstRow);
const write = (session: Queried): Promise<unknown> =>
  session.query(`update accounts set balance = balance + 1 where id = ${++row}`);
const read = (session: Queried): Promise<unknown> => session.query('select * from accounts');

/** What both kinds of sessions have in common. */
interface Queried {
  query(text: string): Promise<unknown>;
}

let silence = (): void => undefined;
const silent = new Promise<void>((resolve) => (silence = resolve));
let waiting = 0;

/** Waits until nothing arrives any more. */
async function untilSilent(): Promise<void> {
  waiting++;
  if (waiting === names.length) say({ is: 'waiting' });
  await silent;
}

const SILENCES = {
  'a statement of PostgreSQL with a deadline': async () => {
    await write(b);
    await untilSilent();
    await write(b);
  },
  'a statement of MariaDB with a deadline': async () => {
    await write(c);
    await untilSilent();
    await write(c);
  },
  'the first statement': async () => {
    await untilSilent();
    await write(b);
  },
  'a rollback': async () => {
    await write(b);
    await write(c);
    await untilSilent();
    throw new Error('on purpose');
  },
  'a commit of PostgreSQL': async () => {
    await write(b);
    await untilSilent();
  },
  'a commit of MariaDB': async () => {
    await write(c);
    await untilSilent();
  },
  'a commit of all': async () => {
    await write(a);
    await write(b);
    await write(c);
    await untilSilent();
  },
  'a commit of one that was written and MariaDB, which was read': async () => {
    await read(c);
    await write(b);
    await untilSilent();
  },
  'a commit of one that was written and PostgreSQL, which was read': async () => {
    await read(b);
    await write(c);
    await untilSilent();
  },
  'a statement with a deadline, when another one has failed': async () => {
    await write(b);
    await untilSilent();
    await Promise.all([write(b), Promise.reject(new Error('on purpose'))]);
  },
} satisfies Record<string, () => Promise<void>>;

/** What nothing is heard of. */
export type Silence = keyof typeof SILENCES;

async function run(what: Silence): Promise<void> {
  let startedAt = performance.now();
  void silent.then(() => (startedAt = performance.now()));
  const options = { attempts: 1, ...(what.includes('deadline') ? { timeoutMs: DEADLINE_MS } : {}) };
  const how = await coordinator.run(SILENCES[what], options).then(
    () => 'committed',
    (error: Error) => (error as { code?: string }).code ?? error.message,
  );
  say({ is: 'told', what, how, ms: Math.round(performance.now() - startedAt) });
}

process.on('message', silence);
// Lives no longer than the parent.
process.on('disconnect', () => process.exit());
await Promise.all(names.map(run));
process.disconnect();
