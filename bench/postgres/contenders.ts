// Ways to do the same transaction: each is a function for each workload.
import { AsyncLocalStorage } from 'node:async_hooks';
import type pg from 'pg';
import { TransactionCoordinator, register } from '../../coordinator/index.ts';
import { PgSession, type PgSessionOptions } from '../../datamanagers/pg/index.ts';
import { type Client, type Once, type Way, simple } from '../throughput/slice.ts';
import { type Behind, together } from './together.ts';
import { SELECT, UPDATE, type Workload } from './workload.ts';

type Make = (pool: pg.Pool) => Way<Workload>;

/** BEGIN, the work, COMMIT, as pg's documentation has it. */
async function byHand(
  pool: pg.Pool,
  work: (client: pg.PoolClient) => Promise<unknown>,
  end: 'COMMIT' | 'ROLLBACK' = 'COMMIT',
): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await work(client);
    await client.query(end);
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
}

const handWritten: Make = (pool) => ({
  write: simple((id) =>
    byHand(pool, async (client) => {
      await client.query(SELECT, [id]);
      await client.query(UPDATE, [id, 1]);
    }),
  ),
  read: simple((id) => byHand(pool, (client) => client.query(SELECT, [id]))),
});

const rolledBack: Make = (pool) => ({
  read: simple((id) => byHand(pool, (client) => client.query(SELECT, [id]), 'ROLLBACK')),
});

const named = {
  select: (id: number) => ({ name: 'select', text: SELECT, values: [id] }),
  update: (id: number) => ({ name: 'update', text: UPDATE, values: [id, 1] }),
};

const handWrittenNamed: Make = (pool) => ({
  write: simple((id) =>
    byHand(pool, async (client) => {
      await client.query(named.select(id));
      await client.query(named.update(id));
    }),
  ),
  read: simple((id) => byHand(pool, (client) => client.query(named.select(id)))),
});

async function coalescedByHand(
  pool: pg.Pool,
  first: pg.QueryConfig,
  work: (client: pg.PoolClient) => Promise<unknown>,
  commits = false,
): Promise<void> {
  const client = await pool.connect();
  try {
    await together(client, ['BEGIN'], first);
    await work(client);
    if (!commits) await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
}

const protocolByHand: Make = (pool) => ({
  write: simple((id) =>
    coalescedByHand(pool, { text: SELECT, values: [id] }, (client) => client.query(UPDATE, [id, 1])),
  ),
  read: simple((id) => coalescedByHand(pool, { text: SELECT, values: [id] }, async () => {})),
});

const protocolByHandNamed: Make = (pool) => ({
  write: simple((id) => coalescedByHand(pool, named.select(id), (client) => client.query(named.update(id)))),
  read: simple((id) => coalescedByHand(pool, named.select(id), async () => {})),
});

/** By which a lost reply to COMMIT can be resolved. */
const ID: Behind = { name: 'id', text: 'select pg_current_xact_id_if_assigned(), pg_backend_pid()' };

const withIdByHand: Make = (pool) => ({
  write: simple((id) =>
    coalescedByHand(pool, { text: SELECT, values: [id] }, (client) =>
      together(client, [], { text: UPDATE, values: [id, 1] }, [ID]),
    ),
  ),
});

const withIdByHandNamed: Make = (pool) => ({
  write: simple((id) =>
    coalescedByHand(pool, named.select(id), (client) => together(client, [], named.update(id), [ID])),
  ),
});

/** What anybody pays whose transaction is known to the functions that are called in it. */
const withIdInContext: Make = (pool) => {
  const context = new AsyncLocalStorage<object>();
  const { write } = withIdByHandNamed(pool);
  return { write: (loop) => write!((once) => loop((id) => context.run({}, once, id))) };
};

const commitBehindByHand: Make = (pool) => ({
  write: simple((id) =>
    coalescedByHand(
      pool,
      named.select(id),
      (client) => together(client, [], named.update(id), [ID, { name: 'commit', text: 'COMMIT' }]),
      true,
    ),
  ),
});

/** The end of each transaction goes with the next one's BEGIN, on a connection of the client's own. */
const handedOnByHand: Make = (pool) => ({
  read: async (loop) => {
    const client = await pool.connect();
    let ahead = ['BEGIN READ ONLY'];
    try {
      await loop(async (id) => {
        await together(client, ahead, named.select(id));
        ahead = ['ROLLBACK', 'BEGIN READ ONLY'];
      });
      await client.query('ROLLBACK');
    } finally {
      client.release();
    }
  },
});

function session(pool: pg.Pool, options?: PgSessionOptions): { transaction: TransactionCoordinator; db: PgSession } {
  const transaction = new TransactionCoordinator();
  return { transaction, db: register(new PgSession(pool, options), { coordinator: transaction }) };
}

function runs({ transaction, db }: ReturnType<typeof session>): ReturnType<Make> {
  return {
    write: simple((id) =>
      transaction.run(async () => {
        await db.query(SELECT, [id]);
        await db.query(UPDATE, [id, 1]);
      }),
    ),
    read: simple((id) =>
      transaction.run(async () => {
        await db.query(SELECT, [id]);
      }),
    ),
  };
}

const byRun: Make = (pool) => runs(session(pool));
const byRunUnnamed: Make = (pool) => runs(session(pool, { namesStatements: false }));

const byBegin: Make = (pool) => {
  const { transaction, db } = session(pool);
  const client =
    (once: Once): Client =>
    (loop) =>
      transaction.context(() => loop(once));
  return {
    write: client(async (id) => {
      await transaction.begin();
      await db.query(SELECT, [id]);
      await db.query(UPDATE, [id, 1]);
      await transaction.commit();
    }),
    read: client(async (id) => {
      await transaction.begin();
      await db.query(SELECT, [id]);
      await transaction.commit();
    }),
  };
};

const byRunNamed: Make = (pool) => {
  const { transaction, db } = session(pool);
  return {
    write: simple((id) =>
      transaction.run(async () => {
        await db.query(named.select(id));
        await db.query(named.update(id));
      }),
    ),
    read: simple((id) =>
      transaction.run(async () => {
        await db.query(named.select(id));
      }),
    ),
  };
};

function runsReadOnly({ transaction, db }: ReturnType<typeof session>): ReturnType<Make> {
  return {
    read: simple((id) =>
      transaction.run(
        async () => {
          await db.query(SELECT, [id]);
        },
        { readOnly: true },
      ),
    ),
  };
}

const byRunCommitBehind: Make = (pool) => {
  const { transaction, db } = session(pool, { commitsBehindStatements: true });
  return {
    write: simple((id) =>
      transaction.run(async () => {
        await db.query(SELECT, [id]);
        // Where it fails, the commit says so.
        db.query(UPDATE, [id, 1]).catch(() => undefined);
      }),
    ),
  };
};

const byRunReadOnly: Make = (pool) => runsReadOnly(session(pool));
const byRunReadOnlyUnnamed: Make = (pool) => runsReadOnly(session(pool, { namesStatements: false }));

const autocommit: Make = (pool) => ({ read: simple((id) => pool.query(SELECT, [id])) });
const autocommitNamed: Make = (pool) => ({ read: simple((id) => pool.query(named.select(id))) });

export const makers = {
  handWritten,
  handWrittenNamed,
  rolledBack,
  protocolByHand,
  protocolByHandNamed,
  withIdByHand,
  withIdByHandNamed,
  withIdInContext,
  commitBehindByHand,
  handedOnByHand,
  byRun,
  byRunUnnamed,
  byBegin,
  byRunNamed,
  byRunCommitBehind,
  byRunReadOnly,
  byRunReadOnlyUnnamed,
  autocommit,
  autocommitNamed,
} as const satisfies Record<string, Make>;

export type ContenderName = keyof typeof makers;
