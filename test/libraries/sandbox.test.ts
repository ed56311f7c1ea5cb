// Libraries in a sandbox: what they do in a transaction of the coordinator, in one of their own and in none, and that nothing of it is left.
import { transaction } from 'unanimous';
import { rollback } from 'unanimous/testing';
import { Database as Mysql, products, warnings } from '../datamanagers/mysql/setup.ts';
import { Database as Postgres } from '../datamanagers/pg/setup.ts';
import { postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import type { Accounts, Adapter, Statements } from './adapter.ts';
import { openDrizzle } from './adapters/drizzle.ts';
import { openDrizzle as openDrizzleOnMysql } from './adapters/drizzle-mysql.ts';
import { openKnex } from './adapters/knex.ts';
import { openKnex as openKnexOnMysql } from './adapters/knex-mysql.ts';
import { openKysely } from './adapters/kysely.ts';
import { openKysely as openKyselyOnMysql } from './adapters/kysely-mysql.ts';
import { openMikroOrm } from './adapters/mikro-orm.ts';
import { openMikroOrm as openMikroOrmOnMysql } from './adapters/mikro-orm-mysql.ts';
import { openPrisma } from './adapters/prisma.ts';
import { openSequelize } from './adapters/sequelize.ts';
import { openSequelize as openSequelizeOnMysql } from './adapters/sequelize-mysql.ts';
import { openTypeorm } from './adapters/typeorm.ts';
import { openTypeorm as openTypeormOnMysql } from './adapters/typeorm-mysql.ts';

type Stored = Pick<Accounts, 'ids' | 'assertClean'>;

function scenarios(title: string, library: Adapter, stored: Stored, close: () => Promise<unknown>): void {
  const test = suite(title);

  test.after.each(async () => {
    assert.equal(await stored.ids(), [1, 2], 'nothing is stored');
    await stored.assertClean();
  });
  test.after(close);

  test('in a transaction of the coordinator it is committed and aborted with that', async () => {
    await rollback(async () => {
      await transaction.run(() => library.insert(3));
      await assert.rejects(
        transaction.run(async () => {
          await library.insert(4);
          throw new Error('no');
        }),
      );
      await transaction.run(async () => {
        await library.insert(5);
        await library.transaction((own) => own.insert(6));
        await assert.rejects(
          library.transaction(async (own) => {
            await own.insert(7);
            throw new Error('no');
          }),
        );
      });
      assert.equal(await transaction.run(() => library.ids()), [1, 2, 3, 5, 6]);
    });
  });

  test('outside of any its statements are kept each by itself, and one that fails harms no other', async () => {
    await rollback(async () => {
      await library.insert(3);
      await assert.rejects(library.insert(3));
      await library.insert(4);
      await library.remove(3);
      assert.equal(await library.ids(), [1, 2, 4]);
      assert.equal(await transaction.run(() => library.ids()), [1, 2, 4]);
      assert.equal(await stored.ids(), [1, 2], 'nobody else sees it');
    });
  });

  test('outside of any its own transactions are committed and rolled back, at whatever isolation', async () => {
    await rollback(async () => {
      await library.transaction((own) => own.insert(3));
      await library.transaction((own) => own.insert(4), { isolation: 'serializable' });
      await assert.rejects(
        library.transaction(async (own) => {
          await own.insert(5);
          throw new Error('no');
        }),
      );
      assert.equal(await library.ids(), [1, 2, 3, 4]);
    });
  });

  test('its own transactions, bare statements and those of the coordinator take turns', async () => {
    await rollback(async () => {
      const two = async (own: Statements, id: number): Promise<void> => {
        await own.insert(id);
        await own.insert(id + 1);
      };
      await Promise.all([
        library.transaction((own) => two(own, 10)),
        transaction.run(() => two(library, 20)),
        library.insert(30),
        library.transaction((own) => two(own, 40)),
        transaction.run(() => two(library, 50)),
      ]);
      assert.equal(await library.ids(), [1, 2, 10, 11, 20, 21, 30, 40, 41, 50, 51]);
    });
  });

  test('after the sandbox it has the plain pool again', async () => {
    await rollback(() => library.insert(3));
    await library.insert(4);
    assert.equal(await stored.ids(), [1, 2, 4]);
    await library.remove(4);
  });
}

for (const open of [openKysely, openDrizzle, openKnex, openTypeorm, openSequelize, openMikroOrm, openPrisma]) {
  const db = await Postgres.open(await postgres(), { name: 'rolled-back', pool: { max: 4 } });
  const library = await open({ session: db.session, url: db.url });
  scenarios(`${library.name} in a sandbox on PostgreSQL`, library, db, async () => {
    await library.close();
    await db.close();
  });
}

const onMysql = [
  openKyselyOnMysql,
  openDrizzleOnMysql,
  openKnexOnMysql,
  openTypeormOnMysql,
  openSequelizeOnMysql,
  openMikroOrmOnMysql,
];
for (const { product, server } of await products()) {
  for (const open of onMysql) {
    // Sequelize wants it so.
    const flags = open === openSequelizeOnMysql ? { flags: ['-FOUND_ROWS'] } : {};
    const db = await Mysql.open(server, { name: 'library', pool: { connectionLimit: 4, ...flags } });
    const database = new URL(db.url).pathname.slice(1);
    const library = await open({ session: db.session as never, product, database });
    scenarios(`${library.name} in a sandbox on ${product}`, library, db, async () => {
      await library.close();
      await db.close();
      warnings.splice(0);
    });
  }
}
