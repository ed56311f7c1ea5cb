// Drizzle: its own transactions, and its statements in transactions of ours.
import { createRequire } from 'node:module';
import type pg from 'pg';
import {
  type Accounts,
  type Column,
  type DrizzleDatabase,
  type DrizzleStatements,
  byDrizzle,
} from '../peers/drizzle.ts';
import type { Work } from '../peers/work.ts';
import { simple } from '../throughput/slice.ts';
import { poolOf, sessionOf } from './connect.ts';
import type { Make } from './make.ts';

const require = createRequire(import.meta.url);
const { drizzle } = require('drizzle-orm/node-postgres') as { drizzle(config: { client: pg.Pool }): DrizzleDatabase };
const { integer, pgTable } = require('drizzle-orm/pg-core') as {
  integer(name: string): Column & { primaryKey(): Column; notNull(): Column };
  pgTable(name: string, columns: Accounts): Accounts;
};

const works = byDrizzle(pgTable('accounts', { id: integer('id').primaryKey(), balance: integer('balance').notNull() }));

function alone(work: Work<DrizzleStatements>): Make {
  return (url) => {
    const db = drizzle({ client: poolOf(url) });
    return { write: simple((id) => db.transaction((tx) => work(tx, id))) };
  };
}

function inRun(work: Work<DrizzleStatements>): Make {
  return (url) => {
    const { transaction, session } = sessionOf(url);
    const db = drizzle({ client: session.pool() });
    return { write: simple((id) => transaction.run(() => work(db, id))) };
  };
}

export const makers = {
  text: alone(works.text),
  builder: alone(works.builder),
  inRunText: inRun(works.text),
  inRunBuilder: inRun(works.builder),
} as const satisfies Record<string, Make>;
