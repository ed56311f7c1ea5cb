// Transactions with many statements, and with many savepoints.
import pg from 'pg';
import { type Transaction, TransactionCoordinator, register } from '../../coordinator/index.ts';
import { PgSession } from '../../datamanagers/pg/index.ts';
import { SELECT, UPDATE } from '../postgres/workload.ts';
import { randomId } from '../throughput/slice.ts';
import { serveSeries, timed } from './serve-series.ts';
import type { Make } from './series.ts';

function poolOf(connectionString: string): pg.Pool {
  return new pg.Pool({ connectionString, max: 1, idleTimeoutMillis: 0 });
}

function byHand(work: (client: pg.PoolClient, size: number) => Promise<unknown>): Make {
  return (urls) => {
    const pool = poolOf(urls[0]!);
    return (size) =>
      timed(async () => {
        const client = await pool.connect();
        await client.query('BEGIN');
        await work(client, size);
        await client.query('COMMIT');
        client.release();
      });
  };
}

function byRun(work: (db: PgSession, size: number, txn: Transaction) => Promise<unknown>): Make {
  return (urls) => {
    const coordinator = new TransactionCoordinator();
    const db = register(new PgSession(poolOf(urls[0]!)), { coordinator });
    return (size) => timed(() => coordinator.run((txn) => work(db, size, txn)));
  };
}

serveSeries({
  byHand: byHand(async (client, size) => {
    for (let done = 0; done < size; done++) await client.query(SELECT, [randomId()]);
  }),
  byHandNamed: byHand(async (client, size) => {
    for (let done = 0; done < size; done++) {
      await client.query({ name: 'select', text: SELECT, values: [randomId()] });
    }
  }),
  byRun: byRun(async (db, size) => {
    for (let done = 0; done < size; done++) await db.query(SELECT, [randomId()]);
  }),
  savepointsByHand: byHand(async (client, size) => {
    await client.query(UPDATE, [randomId(), 1]);
    for (let done = 0; done < size; done++) {
      await client.query(`SAVEPOINT s${done}`);
      await client.query(UPDATE, [randomId(), 1]);
    }
  }),
  savepointsByRun: byRun(async (db, size, txn) => {
    await db.query(UPDATE, [randomId(), 1]);
    for (let done = 0; done < size; done++) {
      await txn.savepoint();
      await db.query(UPDATE, [randomId(), 1]);
    }
  }),
});
