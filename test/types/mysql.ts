// What a MysqlSession takes and returns, beside mysql2's own types; `npm run types` checks it, and nothing runs it.
import callbackDriver from 'mysql2';
import type { FieldPacket, ResultSetHeader, RowDataPacket } from 'mysql2';
import type driver from 'mysql2/promise';
import { register, transaction, type Session } from 'unanimous';
import {
  MysqlSession,
  type MysqlField,
  type MysqlPool,
  type MysqlPreparedStatement,
  type MysqlQueryOptions,
  type MysqlResultHeader,
} from 'unanimous/mysql';

declare const pool: driver.Pool;
declare const callbackPool: callbackDriver.Pool;
declare const options: driver.QueryOptions;

/** True where the two types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_same: Same<A, B>): void => undefined;

// Pools of both kinds are pools, and nothing less is.
const pools: MysqlPool[] = [pool, callbackPool, callbackPool.promise()];
const session = register(new MysqlSession(pool, { name: 'shop', preparedWaitSeconds: 30 }), { twoPhase: false });
const fromCallbacks = new MysqlSession(callbackPool);
const anySession: Session = session;
// @ts-expect-error a connection is no pool
void new MysqlSession({} as driver.Connection);
// @ts-expect-error there is no such option
void new MysqlSession(pool, { pool: 1 });
// @ts-expect-error a number of milliseconds
void new MysqlSession(pool, { acquireTimeoutMs: '1s' });
// @ts-expect-error true or false
void new MysqlSession(pool, { retriesLockTimeouts: 'yes' });

// Whatever query and execute of a pool take.
type Account = { id: number; balance: number };
const [rows, fields] = await session.query<Account[]>('select id, balance from accounts where id = ?', [1]);
same<typeof rows, Account[]>(true);
same<typeof fields, MysqlField[]>(true);
const executed = await session.execute<Account[]>('select id, balance from accounts where id = ?', [1]);
same<typeof executed, [Account[], MysqlField[]]>(true);
const [header] = await session.execute<MysqlResultHeader>('update accounts set balance = 0');
same<typeof header.affectedRows, number>(true);
const [untyped] = await session.query('select 1 as one');
const anything: string = untyped[0].whatever;
void session.query(options);
void session.query(options, [1]);
void session.execute({ sql: 'select :id', values: { id: 1 }, namedPlaceholders: true, timeout: 1_000 });
// @ts-expect-error a text, or options
void session.query(7);
// @ts-expect-error options have a text
void session.query({ values: [1] });

// A library is given the very type of the pool, or of the module.
same<ReturnType<typeof session.pool>, driver.Pool>(true);
same<ReturnType<typeof fromCallbacks.pool>, callbackDriver.Pool>(true);
const module: typeof callbackDriver = session.driver(callbackDriver);
// @ts-expect-error a module makes connections and pools
void session.driver({ createPool: callbackDriver.createPool });
const general: MysqlSession = session;

// With the driver's own types of rows.
const [packets] = await session.query<RowDataPacket[]>('select 1');
const theirHeader = (await session.query<ResultSetHeader>('do 0'))[0];
const ours: MysqlResultHeader = theirHeader;
declare const theirFields: FieldPacket[];
const ourFields: MysqlField[] = theirFields;
const ourOptions: MysqlQueryOptions = { sql: 'select 1', values: [1], rowsAsArray: true };
const back: driver.QueryOptions = ourOptions as driver.QueryOptions;

// Streams and prepared statements.
for await (const row of session.queryStream('select 1', [], { highWaterMark: 5 })) void row;
// @ts-expect-error a number of rows
session.queryStream('select 1', [], { highWaterMark: '5' });
const statement: MysqlPreparedStatement = await session.prepare('select ? as n');
const [prepared] = await statement.execute<{ n: number }[]>([1]);
same<typeof prepared, { n: number }[]>(true);
await statement.close();
// @ts-expect-error a text
void session.prepare({ sql: 'select 1' });

// In a transaction, the type goes through.
const balance: number | undefined = await transaction.run(
  async () => (await session.query<Account[]>('select 1'))[0][0]?.balance,
  { isolation: 'serializable' },
);
const checked: Promise<void> = session.check();

void [pools, fromCallbacks, anySession, module, general, anything, packets, ours, ourFields, back, balance, checked];
