/** Connections beside the pool: for what must get through when the pool is exhausted or its connections are gone. */
import { outside } from '../../coordinator/context.ts';
import type { MysqlCore, MysqlCoreClass, MysqlCorePool, MysqlError } from './driver.ts';

/** Runs a statement and resolves with its rows. */
export type Ask = (text: string) => Promise<Record<string, unknown>[]>;

/** The class of connections that the pools of `mysql2` are made of, by the class of a pool's connection. */
const connectionClasses = new WeakMap<object, MysqlCoreClass>();

/** Remembers of which class the connections of a pool are. */
export function learnClass(pool: MysqlCorePool, connection: MysqlCore): void {
  if (connectionClasses.has(pool)) return;
  const pooled = connection.constructor as object;
  connectionClasses.set(pool, Object.getPrototypeOf(pooled) as MysqlCoreClass);
}

async function classOf(pool: MysqlCorePool): Promise<MysqlCoreClass> {
  const known = connectionClasses.get(pool);
  if (known !== undefined) return known;
  const connection = await new Promise<MysqlCore>((resolve, reject) => {
    pool.getConnection((error, got) => (error === null ? resolve(got) : reject(error)));
  });
  learnClass(pool, connection);
  // Idle in the pool it would keep a process alive that has nothing else to do: recovery may be the only one who has asked for it.
  connection.destroy();
  return connectionClasses.get(pool)!;
}

/** Opens a connection of its own as the pool would, within `timeoutMs`. */
export async function openConnection(pool: MysqlCorePool, timeoutMs: number): Promise<MysqlCore> {
  let timer: NodeJS.Timeout | undefined;
  let core: MysqlCore | undefined;
  let isOver = false;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the server did not answer within ${timeoutMs} ms`)), timeoutMs);
  });
  // Outside of the caller's context: its errors come for as long as the connection lives.
  const connecting = outside(async () => {
    const Connection = await classOf(pool);
    if (isOver) throw new Error('it was given up before');
    core = new Connection({ config: copyOf(pool.config.connectionConfig) });
    const connection = core;
    // Its death shows in the statement under way; an event without a listener would end the process.
    connection.on('error', () => undefined);
    await new Promise<void>((resolve, reject) => {
      connection.connect((error) => (error === null || error === undefined ? resolve() : reject(error)));
    });
    return connection;
  });
  try {
    return await Promise.race([connecting, tooLate]);
  } catch (error) {
    isOver = true;
    core?.destroy();
    core?.stream.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Opens a connection of its own, calls `use` with it, and closes it. Bounded by `timeoutMs`. */
export async function callWithConnection<T>(
  pool: MysqlCorePool,
  timeoutMs: number,
  use: (ask: Ask) => Promise<T>,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  const core = await openConnection(pool, timeoutMs);
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`the server did not answer within ${timeoutMs} ms`)),
      Math.max(1, end - performance.now()),
    );
  });
  try {
    return await Promise.race([outside(() => use((text) => rowsOf(core, text))), tooLate]);
  } finally {
    clearTimeout(timer);
    core.destroy();
    core.stream.destroy();
  }
}

function rowsOf(core: MysqlCore, text: string): Promise<Record<string, unknown>[]> {
  return new Promise((resolve, reject) => {
    core.query(text, undefined, (error: MysqlError | null | undefined, rows) => {
      if (error === null || error === undefined)
        resolve(Array.isArray(rows) ? (rows as Record<string, unknown>[]) : []);
      else reject(error);
    });
  });
}

/** What is asked here is read by name, as plain numbers and as dates in UTC, whatever the application likes. */
const PLAIN = {
  rowsAsArray: false,
  nestTables: false,
  typeCast: true,
  namedPlaceholders: false,
  supportBigNumbers: false,
  bigNumberStrings: false,
  dateStrings: false,
  timezone: 'Z',
  queryFormat: undefined,
};

/** A copy, as the driver makes one for each connection, because a connection may change it. */
function copyOf(config: object): object {
  const properties = Object.getOwnPropertyDescriptors(config);
  return Object.assign(Object.create(Object.getPrototypeOf(config) as object, properties), PLAIN) as object;
}
