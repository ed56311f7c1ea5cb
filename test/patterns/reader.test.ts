// Protects read/write splitting: what is declared read-only goes to the reader, whatever may write never does.
import driver from 'mysql2/promise';
import pg from 'pg';
import { ConfigurationError, markChanged, register, transaction } from 'unanimous';
import { MysqlSession } from 'unanimous/mysql';
import { PgSession } from 'unanimous/pg';
import { Database as Mysql, poolState, products } from '../datamanagers/mysql/setup.ts';
import { Database as Postgres } from '../datamanagers/pg/setup.ts';
import { postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';

interface Place {
  readonly product: string;
  readonly session: PgSession | MysqlSession;
  query(text: string): Promise<{ name?: string }[]>;
  readonly current: string;
  readonly writer: string;
  readonly reader: string;
  /** Connections of the reader's pool that somebody has. */
  heldByReader(): number;
  close(): Promise<void>;
}

// The reader is another database: so whoever answers says who it is.
async function onPostgres(): Promise<Place> {
  const server = await postgres();
  const [writer, reader] = [await Postgres.open(server, { name: 'writer' }), await Postgres.open(server)];
  const readerPool = new pg.Pool({ connectionString: reader.url });
  const session = register(new PgSession(writer.pool, { name: 'split', readerPool }));
  return {
    product: 'PostgreSQL',
    session,
    query: async (text) => (await session.query(text)).rows,
    current: 'current_database()',
    writer: new URL(writer.url).pathname.slice(1),
    reader: new URL(reader.url).pathname.slice(1),
    heldByReader: () => readerPool.totalCount - readerPool.idleCount,
    async close() {
      await readerPool.end();
      await Promise.all([writer.close(), reader.close()]);
    },
  };
}

async function onMysql(product: string, server: Parameters<typeof Mysql.open>[0]): Promise<Place> {
  const [writer, reader] = [await Mysql.open(server, { name: 'writer' }), await Mysql.open(server)];
  const readerPool = driver.createPool(reader.url);
  const session = register(new MysqlSession(writer.pool, { name: 'split', readerPool }));
  return {
    product,
    session,
    query: async (text) => (await session.query(text))[0],
    current: 'database()',
    writer: new URL(writer.url).pathname.slice(1),
    reader: new URL(reader.url).pathname.slice(1),
    heldByReader: () => poolState(readerPool).all - poolState(readerPool).free,
    async close() {
      await readerPool.end();
      await Promise.all([writer.close(), reader.close()]);
    },
  };
}

const test = suite('a reader beside the writer');
const places = [await onPostgres()];
for (const { product, server } of await products()) places.push(await onMysql(product, server));
test.after(() => Promise.all(places.map((place) => place.close())));

for (const place of places) {
  const { product, query, session } = place;
  const who = async (): Promise<string | undefined> => (await query(`select ${place.current} as name`))[0]!.name;

  test(`${product}: a transaction that is declared read-only goes to the reader, and gives its connection back there`, async () => {
    assert.is(await transaction.run(who, { readOnly: true }), place.reader);
    await assert.eventually(() => place.heldByReader() === 0);
    const pool = session.pool() as { query(text: string): Promise<unknown> };
    assert.ok(
      JSON.stringify(
        await transaction.run(() => pool.query(`select ${place.current} as name`), { readOnly: true }),
      ).includes(place.reader),
      'a library too',
    );
  });

  test(`${product}: whatever may write goes to the writer, also where it only reads`, async () => {
    assert.is(await transaction.run(who), place.writer);
    await transaction.run(async () => {
      session.joinTransaction({ initialState: 'changed' });
      assert.is(await who(), place.writer);
    });
    await transaction.run(async () => {
      markChanged(session);
      assert.is(await who(), place.writer);
      await query('update accounts set balance = 99 where id = 1');
    });
    const read = (): Promise<unknown> => query('select balance from accounts where id = 1');
    assert.equal(await transaction.run(read), [{ balance: 99 }]);
    assert.equal(await transaction.run(read, { readOnly: true }), [{ balance: 100 }]);
  });

  test(`${product}: a session that joins read-only goes to the reader, and refuses to be marked`, async () => {
    await transaction.run(async () => {
      session.joinTransaction({ initialState: 'readonly' });
      assert.is(await who(), place.reader);
      assert.throws(() => markChanged(session), /read-only/);
    });
  });

  test(`${product}: the reader refuses to write, and nothing is stored`, async () => {
    const error = await assert.rejects(
      transaction.run(() => query('update accounts set balance = 1 where id = 2'), { readOnly: true, attempts: 1 }),
    );
    assert.match((error as Error).message, /read.only/i);
    const read = (): Promise<unknown> => query('select balance from accounts where id = 2');
    assert.equal(await transaction.run(read, { readOnly: true }), [{ balance: 100 }]);
    await assert.eventually(() => place.heldByReader() === 0);
  });

  test(`${product}: a connection of the reader is never kept for a transaction that writes`, async () => {
    await transaction.context(async () => {
      await transaction.begin({ readOnly: true });
      session.joinTransaction({ keepSession: true });
      assert.is(await who(), place.reader);
      await transaction.abort();
      await assert.eventually(() => place.heldByReader() === 0);
      await transaction.begin();
      assert.is(await who(), place.writer);
      await transaction.abort();
    });
  });

  test(`${product}: check() asks both`, async () => {
    await session.check();
  });
}

test('what is no pool is refused when the session is made', () => {
  const [pool, other] = [new pg.Pool(), driver.createPool('mysql://localhost/x')];
  assert.throws(
    () => new PgSession(pool, { readerPool: {} as never }),
    (error: unknown) => error instanceof ConfigurationError,
  );
  assert.throws(
    () => new MysqlSession(other, { readerPool: {} as never }),
    (error: unknown) => error instanceof ConfigurationError,
  );
});
