import { Kysely, MysqlDialect } from 'kysely';
import type { Place } from '../mysql.ts';
import { kysely } from './kysely.ts';

/** Kysely takes the pool with callbacks. */
export function openKysely({ session }: Place): ReturnType<typeof kysely> {
  return kysely(new Kysely({ dialect: new MysqlDialect({ pool: session.pool().pool }) }));
}
