// The heap that an open transaction holds which has a connection to PostgreSQL, beyond the connection itself.
import { setImmediate as turn } from 'node:timers/promises';
import pg from 'pg';
import { TransactionCoordinator, register } from '../../coordinator/index.ts';
import { PgSession } from '../../datamanagers/pg/index.ts';
import { SELECT } from '../postgres/workload.ts';
import { randomId } from '../throughput/slice.ts';
import { serveSeries } from './serve-series.ts';
import type { Make } from './series.ts';

const MOST = 200;
const COLLECTIONS = 5;

/** A transaction that has done a statement, and stays open until `end`; `begun` is called when it has. */
type Open = (begun: () => void, end: Promise<void>) => Promise<unknown>;

async function collect(): Promise<number> {
  for (let time = 0; time < COLLECTIONS; time++) {
    await turn();
    globalThis.gc!();
  }
  return process.memoryUsage().heapUsed;
}

async function bytesOf(open: Open, size: number): Promise<number> {
  const before = await collect();
  let end!: () => void;
  const ended = new Promise<void>((resolve) => (end = resolve));
  const all: Promise<unknown>[] = [];
  await new Promise<void>((resolve) => {
    let begun = 0;
    for (let index = 0; index < size; index++) all.push(open(() => ++begun === size && resolve(), ended));
  });
  const bytes = (await collect()) - before;
  end();
  await Promise.all(all);
  return bytes / size;
}

function measured(openOf: (pool: pg.Pool) => Open): Make {
  return (urls) => {
    const pool = new pg.Pool({ connectionString: urls[0]!, max: MOST, idleTimeoutMillis: 0 });
    const open = openOf(pool);
    let warm: Promise<unknown> | undefined;
    return async (size) => {
      // Connections are made, and what they keep for good.
      await (warm ??= bytesOf(open, MOST).then(() => bytesOf(open, MOST)));
      return bytesOf(open, size);
    };
  };
}

serveSeries({
  byHand: measured((pool) => async (begun, end) => {
    const client = await pool.connect();
    await client.query('BEGIN');
    await client.query(SELECT, [randomId()]);
    begun();
    await end;
    await client.query('COMMIT');
    client.release();
  }),
  byRun: measured((pool) => {
    const coordinator = new TransactionCoordinator();
    const db = register(new PgSession(pool), { coordinator });
    return (begun, end) =>
      coordinator.run(async () => {
        await db.query(SELECT, [randomId()]);
        begun();
        await end;
      });
  }),
});
