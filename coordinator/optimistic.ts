/** Optimistic locking: a write that finds the row changed is a conflict, after which the whole transaction is tried again. */
import { ConfigurationError, OptimisticLockError, describe } from './errors.ts';

/** Says which row it was, for the error. */
export interface UpdateDetails {
  /** The table, or whatever a reader of the error knows it by. */
  table?: string | undefined;
  /** The row's key. */
  id?: unknown;
  /** The version that was expected. */
  version?: unknown;
}

/**
 * Takes the result of an `UPDATE … WHERE id = … AND version = …` (or of a `DELETE`), and returns it where it has touched a row.
 *
 * Knows what `pg` and `mysql2` return, and the query builders over them: Kysely, Drizzle, Knex, TypeORM, Sequelize; and a plain number.
 *
 * @throws OptimisticLockError, which is transient, where no row was touched: somebody else has changed it, or it is gone. `run` tries the
 * whole transaction again, which reads the new version.
 * @throws ConfigurationError where the result doesn't say how many rows were touched.
 */
export function expectUpdated<R>(result: R, details: UpdateDetails = {}): R {
  const touched = touchedBy(result);
  if (touched === undefined) {
    throw new ConfigurationError(
      `expectUpdated() takes the result of an UPDATE or DELETE, which says how many rows it has touched; ${describe(result)} doesn't`,
    );
  }
  if (touched > 0) return result;
  const { table, id, version } = details;
  const which =
    (table === undefined ? '' : ` of ${table}`) +
    (id === undefined ? '' : ` with the id ${describe(id)}`) +
    (version === undefined ? '' : ` in the version ${describe(version)}`);
  throw new OptimisticLockError(
    `the row${which} must be as it was read when it is written; no row was touched, so somebody else has changed or deleted it: read it again`,
  );
}

/** What drivers and query builders call the number of touched rows: pg; mysql2; TypeORM; Kysely. */
const NAMES = ['rowCount', 'affectedRows', 'affected', 'numUpdatedRows', 'numDeletedRows', 'numAffectedRows'] as const;

function touchedBy(result: unknown): number | undefined {
  const count = countOf(result);
  if (count !== undefined || !Array.isArray(result)) return count;
  // What mysql2, TypeORM and Sequelize return has the count in one of two places: beside the rows or the fields.
  for (const part of result) {
    const found = countOf(part);
    if (found !== undefined) return found;
  }
  // The rows of a RETURNING.
  return result.every((row) => typeof row === 'object' && row !== null) ? result.length : undefined;
}

function countOf(result: unknown): number | undefined {
  if (typeof result === 'number' || typeof result === 'bigint') return Number(result);
  if (typeof result !== 'object' || result === null) return undefined;
  for (const name of NAMES) {
    const count = (result as Record<string, unknown>)[name];
    if (typeof count === 'number' || typeof count === 'bigint') return Number(count);
  }
  return undefined;
}
