// Every session of MySQL and MariaDB keeps the contract of a data manager, in each way to take part, on the real server.
import type { RegisterOptions } from 'unanimous';
import type { ConformanceSubject } from 'unanimous/testing';
import { assert, suite } from '../../support/suite.ts';
import { conform } from '../testing/conform.ts';
import { onText } from '../sql/helpers.ts';
import { Database, type Product, poolState, products } from './setup.ts';

/** A failure that a test makes: cuts the link at a statement, so that it never arrives. */
function cutAt(text: string) {
  return ({ proxy }: Database): void => {
    onText(proxy, text, (link) => {
      link.cut();
      return false;
    });
  };
}

/** The same, and nobody gets through any more until that is ended. */
function loseServerAt(text: string) {
  return ({ proxy }: Database) => {
    onText(proxy, text, (link) => {
      proxy.refuse = true;
      link.cut();
      return false;
    });
    return (): void => {
      proxy.refuse = false;
    };
  };
}

const numbered = (errno: number, sqlState: string): Error =>
  Object.assign(new Error(`error ${errno}`), { errno, sqlState, code: 'ER' });

function subject(db: Database, twoPhase: 'auto' | boolean): ConformanceSubject<Database> {
  const prepares = twoPhase !== false;
  return {
    capabilities: {
      savepoints: true,
      readOnlyVote: true,
      lastResource: !prepares,
      onePhase: twoPhase === 'auto',
      recoverable: prepares,
      readsOwnWrites: true,
    },
    async open() {
      await db.admin.query('delete from words; update counters set n = 0');
      return db;
    },
    async close() {
      db.proxy.onClientData = undefined;
      for (const gid of await db.prepared()) await rollBack(db, gid);
      await db.assertClean();
    },
    write: ({ session }, value) => session.query('insert into words values (?)', [value]),
    async read({ session }) {
      const [rows] = await session.query<{ word: string }[]>('select word from words');
      return rows.map(({ word }) => word);
    },
    stored: async () => (await db.rows<{ word: string }>('select word from words')).map(({ word }) => word),
    held: async ({ pool }) => {
      const { all, free, waiting } = poolState(pool);
      return { connections: all - free, waiting, prepared: (await db.prepared()).length };
    },
    failures: {
      work: ({ session }) => session.query('select * from nowhere').then(() => undefined),
      savepoint: cutAt('savepoint'),
      rollback: cutAt('rollback to'),
      tpcBegin: 'it only refuses work from then on',
      commit: async ({ session }) => {
        await session.query('select * from nowhere').catch(() => undefined);
      },
      tpcVote:
        twoPhase === true
          ? cutAt('xa end')
          : 'the server refuses nothing at the end, and where the connection is lost then, the outcome is not known',
      tpcFinish: prepares ? loseServerAt('xa commit') : 'it has no prepared transactions',
      tpcAbort: prepares ? loseServerAt('xa rollback') : cutAt('rollback'),
      abort: cutAt('rollback'),
    },
    conflict: 'who comes later waits for a lock, and then works on what is there',
    errors: {
      transient: [numbered(1213, '40001'), numbered(1205, 'HY000'), numbered(3572, 'HY000'), numbered(1614, 'XA102')],
      permanent: [numbered(1062, '23000'), numbered(1064, '42000'), numbered(1317, '70100')],
    },
    recovery: prepares
      ? {
          resource: ({ session }) => session,
          async crash({ proxy }) {
            proxy.cut();
            await assert.eventually(() => proxy.links.size === 0);
          },
          foreign: prepareForeign,
        }
      : undefined,
  };
}

/** MariaDB lets nobody else end it while the connection that prepared it is open, which may be for a moment. */
async function rollBack(db: Database, gid: string): Promise<void> {
  await assert.eventually(async () => {
    await db.admin.query(`xa rollback '${gid}','${db.session.name}'`).catch(() => undefined);
    return !(await db.prepared()).includes(gid);
  });
}

/** Prepares what another session of this package, and what somebody else has prepared. */
async function prepareForeign({ admin }: Database): Promise<() => Promise<void>> {
  const branches = ["'unanimous:-:0123456789:1','another'", "'somebody','else'"];
  const owners = await Promise.all(branches.map(() => admin.getConnection()));
  for (const [index, branch] of branches.entries()) {
    const owner = owners[index]!;
    await owner.query(`xa start ${branch}`);
    await owner.query('insert into counters values (0)');
    await owner.query(`xa end ${branch}`);
    await owner.query(`xa prepare ${branch}`);
  }
  return async () => {
    for (const [index, branch] of branches.entries()) {
      await owners[index]!.query(`xa rollback ${branch}`);
      owners[index]!.release();
    }
  };
}

async function open({ server }: Product, twoPhase: RegisterOptions['twoPhase']): Promise<Database> {
  const db = await Database.open(server, {
    name: `conformance_${String(twoPhase)}`,
    register: { twoPhase },
    endTimeoutMs: 1_000,
    resolveTimeoutMs: 1_000,
  });
  await db.admin.query(
    'create table words (word varchar(99) primary key) engine=innodb; create table counters (n int not null) engine=innodb; insert into counters values (0)',
  );
  return db;
}

for (const each of await products()) {
  for (const twoPhase of ['auto', true, false] as const) {
    const test = suite(`a session of ${each.product} with twoPhase ${String(twoPhase)} is a data manager`);
    const db = await open(each, twoPhase);
    test.after(() => db.close());
    conform(test, subject(db, twoPhase));
  }
}
