// Kysely: its own transactions, and its statements in transactions of ours.
import { Kysely, PostgresDialect } from 'kysely';
import { type Tables, byKysely } from '../peers/kysely.ts';
import type { Work } from '../peers/work.ts';
import { simple } from '../throughput/slice.ts';
import { poolOf, sessionOf } from './connect.ts';
import type { Make } from './make.ts';

function alone(work: Work<Kysely<Tables>>): Make {
  return (url) => {
    const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: poolOf(url) }) });
    return { write: simple((id) => db.transaction().execute((trx) => work(trx, id))) };
  };
}

function inRun(work: Work<Kysely<Tables>>): Make {
  return (url) => {
    const { transaction, session } = sessionOf(url);
    const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: session.pool() }) });
    return { write: simple((id) => transaction.run(() => work(db, id))) };
  };
}

export const makers = {
  text: alone(byKysely.text),
  builder: alone(byKysely.builder),
  inRunText: inRun(byKysely.text),
  inRunBuilder: inRun(byKysely.builder),
} as const satisfies Record<string, Make>;
