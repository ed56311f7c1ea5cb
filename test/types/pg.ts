// What a PgSession takes and returns, beside pg's own types; `npm run types` checks it, and nothing runs it.
import pg from 'pg';
import type { QueryResult, QueryResultRow } from 'pg';
import type QueryStream from 'pg-query-stream';
import { register, transaction, type Session } from 'unanimous';
import { PgSession, type PgPool, type PgQueryConfig, type PgResult } from 'unanimous/pg';

declare const pool: pg.Pool;
declare const stream: QueryStream;
declare const config: pg.QueryConfig;
declare const arrayConfig: pg.QueryArrayConfig;

/** True where the two types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_same: Same<A, B>): void => undefined;

// A pool of pg is a pool, and nothing less is.
const accepted: PgPool = pool;
const session = register(new PgSession(accepted, { name: 'bank' }), { twoPhase: false });
same<typeof session, PgSession>(true);
const anySession: Session = session;
// @ts-expect-error a client is no pool
void new PgSession({} as pg.Client);
// @ts-expect-error there is no such option
void new PgSession(pool, { pool: 1 });
// @ts-expect-error a number of milliseconds
void new PgSession(pool, { acquireTimeoutMs: '1s' });
// @ts-expect-error one of three states
register(session, { initialState: 'dirty' });

// Whatever pool.query takes.
type Account = { id: number; balance: number };
const rows = await session.query<Account>('select id, balance from accounts where id = $1', [1]);
same<typeof rows, PgResult<Account>>(true);
same<typeof rows.rows, Account[]>(true);
same<typeof rows.rowCount, number | null>(true);
const typed: Promise<PgResult<Account>> = session.query<Account, [number]>('select $1', [1]);
// @ts-expect-error the values are those that were named
void session.query<Account, [number]>('select $1', ['1']);
const arrays = await session.query<[number, string]>({ text: 'select 1', rowMode: 'array' });
same<typeof arrays.rows, [number, string][]>(true);
const untyped = await session.query('select 1');
const anything: string = untyped.rows[0].whatever;
void session.query(config);
void session.query(config, [1]);
void session.query(arrayConfig);
void session.query<Account>({ text: 'select 1', values: [1], name: 'named' });
const submitted = session.query(stream);
same<typeof submitted, QueryStream>(true);
session.query('select 1', (error: Error | undefined, result: PgResult) => void [error, result.rows]);
session.query<Account>('select $1', [1], (error, result) => void [error?.message, result.rows[0]?.balance]);
session.query<Account>({ text: 'select 1' }, (_error, result) => void result.rows[0]?.id);
// @ts-expect-error a text, a configuration or something to submit
void session.query(7);
// @ts-expect-error a configuration has a text
void session.query({ values: [1] });

// A library is given the very type of the pool, or of the module.
const ofPg = new PgSession(pool);
same<ReturnType<typeof ofPg.pool>, pg.Pool>(true);
same<ReturnType<typeof session.pool>, PgPool>(true);
const module: typeof pg = ofPg.driver(pg);
// @ts-expect-error a module has clients and pools
void ofPg.driver({ Client: pg.Client });
const general: PgSession = ofPg;

// What it returns goes where a result of pg goes, in what they share.
declare const theirs: QueryResult<Account & QueryResultRow>;
const ours: PgResult<Account> = theirs;
const shared: Pick<QueryResult<Account>, 'rows' | 'rowCount' | 'command' | 'oid' | 'fields'> = rows;
const asConfig: PgQueryConfig = { text: 'select 1', values: [1], name: 'x' };
const back: pg.QueryConfig = asConfig as pg.QueryConfig;

// In a transaction, the type goes through.
const balance: number | undefined = await transaction.run(
  async () => (await session.query<Account>('select 1')).rows[0]?.balance,
  { isolation: 'serializable', propagation: 'requires-new' },
);
// @ts-expect-error there is no such isolation
void transaction.run(() => undefined, { isolation: 'snapshot' });

void [anySession, module, general, typed, anything, ours, shared, back, balance];
