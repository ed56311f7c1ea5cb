import knex from 'knex';
import type { Place } from '../mysql.ts';
import { knexAdapter } from './knex.ts';

export function openKnex({ session }: Place): ReturnType<typeof knexAdapter> {
  return { ...knexAdapter(knex({ client: 'mysql2', connectionPool: session.pool() })), streamsOutside: true };
}
