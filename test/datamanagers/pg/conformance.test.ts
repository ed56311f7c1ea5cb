import type { RegisterOptions } from 'unanimous';
import type { ConformanceSubject } from 'unanimous/testing';
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { conform } from '../testing/conform.ts';
import { Database, onText } from './setup.ts';

const server = await postgres();

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

const withState = (code: string): Error => Object.assign(new Error(`SQLSTATE ${code}`), { code, severity: 'ERROR' });

function subject(db: Database, twoPhase: 'auto' | boolean): ConformanceSubject<Database> {
  const prepares = twoPhase !== false;
  const onlyPrepared = 'it has no prepared transactions';
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
      await db.admin.query('truncate words, pairs; update counters set n = 0');
      return db;
    },
    async close() {
      db.proxy.onClientData = undefined;
      for (const gid of await db.prepared()) await db.admin.query(`rollback prepared '${gid}'`);
      await db.assertClean();
    },
    write: ({ session }, value) => session.query('insert into words values ($1)', [value]),
    async read({ session }) {
      const { rows } = await session.query<{ word: string }>('select word from words');
      return rows.map(({ word }) => word);
    },
    async stored({ admin }) {
      const { rows } = await admin.query<{ word: string }>('select word from words');
      return rows.map(({ word }) => word);
    },
    held: async ({ pool }) => ({
      connections: pool.totalCount - pool.idleCount,
      waiting: pool.waitingCount,
      processes: (await db.activity()).filter(({ state }) => state !== 'idle').length,
      prepared: (await db.prepared()).length,
    }),
    failures: {
      work: ({ session }) => session.query('select 1 / 0').then(() => undefined),
      savepoint: cutAt('savepoint'),
      rollback: cutAt('rollback to'),
      tpcBegin: 'it only refuses work from then on',
      commit: async ({ session }) => {
        await session.query('select 1 / 0').catch(() => undefined);
      },
      // Refused when the transaction ends, by COMMIT or by PREPARE TRANSACTION.
      tpcVote: ({ session }) => session.query("insert into pairs values ('without', 'another')").then(() => undefined),
      tpcFinish: prepares ? loseServerAt('commit prepared') : onlyPrepared,
      tpcAbort: prepares ? loseServerAt('rollback prepared') : cutAt('rollback'),
      abort: cutAt('rollback'),
    },
    async conflict({ session, admin }) {
      await admin.query('update counters set n = n + 1');
      await session.query('update counters set n = n + 1');
    },
    errors: {
      transient: ['40001', '40P01', '55P03', '57P01'].map(withState),
      permanent: ['23505', '42601', '25P02'].map(withState),
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

/** Prepares what another session of this package, and what somebody else has prepared. */
async function prepareForeign({ admin }: Database): Promise<() => Promise<void>> {
  const gids = ['unanimous:-:0123456789:1:another', 'somebody else'];
  for (const gid of gids) {
    await admin.query(`begin; insert into counters values (0); prepare transaction '${gid}'`);
  }
  return async () => {
    for (const gid of gids) await admin.query(`rollback prepared '${gid}'`);
  };
}

async function open(twoPhase: RegisterOptions['twoPhase']): Promise<Database> {
  const db = await Database.open(server, {
    name: `conformance_${String(twoPhase)}`,
    register: { twoPhase },
    endTimeoutMs: 1_000,
    resolveTimeoutMs: 500,
    // Where somebody else has changed the same row, one is told so.
    pool: { options: '-c default_transaction_isolation=repeatable\\ read' },
  });
  await db.admin.query(
    `create table words (word text primary key);
     create table pairs (word text primary key, other text references pairs deferrable initially deferred);
     create table counters (n int not null); insert into counters values (0)`,
  );
  // Idle connections die with the link.
  db.pool.on('error', () => undefined);
  return db;
}

for (const twoPhase of ['auto', true, false] as const) {
  const test = suite(`a PostgreSQL session with twoPhase ${String(twoPhase)} is a data manager`);
  const db = await open(twoPhase);
  test.after(() => db.close());
  conform(test, subject(db, twoPhase));
}
