/** What keeps recovery from its work at a PostgreSQL server, or soon will. */
import type { ResourceWarning } from '../../coordinator/types.ts';

/** A server with less room than this for prepared transactions will soon refuse them. */
const LEAST_ROOM = 0.1;

/** Asks for all of it at once; `$1` is what the names of branches begin with, `$2` what they end with. */
export const WARNINGS = `select current_setting('max_prepared_transactions')::int as most, count(gid)::int as used, current_user::text as me,
    count(gid) filter (where is_foreign)::int as foreign_count, min(owner::text) filter (where is_foreign) as foreign_owner
  from (select gid, owner, database = current_database() and owner <> current_user and left(gid, length($1)) = $1 and right(gid, length($2)) = $2
      and not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) as is_foreign
    from pg_catalog.pg_prepared_xacts) as prepared`;

/** What the server answers. */
export interface WarningsRow {
  readonly most: number;
  readonly used: number;
  readonly me: string;
  readonly foreign_count: number;
  readonly foreign_owner: string | null;
}

export function warningsOf(row: WarningsRow, name: string): ResourceWarning[] {
  const { most, used, me, foreign_count: foreign, foreign_owner: owner } = row;
  const warnings: ResourceWarning[] = [];
  const room = Math.max(0, most - used);
  // Where it is 0, nothing is ever prepared there, and whoever tries is told.
  if (most > 0 && room < most * LEAST_ROOM) {
    const message = `${name} has room for ${room} more prepared transaction${room === 1 ? '' : 's'}, of ${most}: end what is in doubt, or raise max_prepared_transactions`;
    warnings.push({ kind: 'little-room', message });
  }
  if (foreign > 0) {
    const what = foreign === 1 ? 'a branch that was' : `${foreign} branches that were`;
    const message = `${name} has ${what} prepared by the role ${owner}, which only that one or a superuser may end, not ${me}: connect all processes as one role`;
    warnings.push({ kind: 'foreign-owner', message });
  }
  return warnings;
}
