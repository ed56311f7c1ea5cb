// Knex: its own transactions, and its statements in transactions of ours.
import knexOf, { type Knex } from 'knex';
import { byKnex } from '../peers/knex.ts';
import type { Work } from '../peers/work.ts';
import { simple } from '../throughput/slice.ts';
import { CONNECTIONS, sessionOf } from './connect.ts';
import type { Make } from './make.ts';

const FOREVER_MS = 3_600_000;

function alone(work: Work<Knex>): Make {
  return (connection) => {
    const pool = { min: 0, max: CONNECTIONS, idleTimeoutMillis: FOREVER_MS };
    const db = knexOf({ client: 'pg', connection, pool });
    return { write: simple((id) => db.transaction((trx) => work(trx, id))) };
  };
}

function inRun(work: Work<Knex>): Make {
  return (url) => {
    const { transaction, session } = sessionOf(url);
    const db = knexOf({ client: 'pg', connectionPool: session.pool() } as Knex.Config);
    return { write: simple((id) => transaction.run(() => work(db, id))) };
  };
}

export const makers = {
  text: alone(byKnex.text),
  builder: alone(byKnex.builder),
  inRunText: inRun(byKnex.text),
  inRunBuilder: inRun(byKnex.builder),
} as const satisfies Record<string, Make>;
