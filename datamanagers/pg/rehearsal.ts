/** Transactions of PostgreSQL that are savepoints of one: what is different from a COMMIT is made up for here. */
import type { Rehearsal } from '../sql/sandbox.ts';
import type { PgConnection } from './connection.ts';

/** Each subtransaction that has an id holds the lock of it until it ends: the parents got theirs before. */
const WRITERS =
  "select count(*)::int as writers from pg_catalog.pg_locks where locktype = 'transactionid' and pid = pg_catalog.pg_backend_pid() and mode = 'ExclusiveLock'";

const DEFERRABLE = `select pg_catalog.format('%I.%I', n.nspname, c.conname) as name, pg_catalog.bool_or(c.condeferred) as deferred
  from pg_catalog.pg_constraint c join pg_catalog.pg_namespace n on n.oid = c.connamespace where c.condeferrable group by 1`;

export class PgRehearsal implements Rehearsal {
  readonly #connection: PgConnection;

  constructor(connection: PgConnection) {
    this.#connection = connection;
  }

  /** Of the subtransaction: PostgreSQL returns to what was before when that ends. */
  async readOnly(): Promise<void> {
    await this.#connection.query('set transaction read only');
  }

  async writers(): Promise<number> {
    const { rows } = await this.#connection.query(WRITERS);
    return (rows as { writers: number }[])[0]!.writers;
  }

  /** Then makes each constraint wait again that did when the transaction began: a SET CONSTRAINTS holds for the outer one. */
  async checkDeferred(): Promise<void> {
    const { rows } = await this.#connection.query(DEFERRABLE);
    const constraints = rows as { name: string; deferred: boolean }[];
    if (constraints.length === 0) return;
    await this.#connection.query('set constraints all immediate');
    const immediate = constraints.filter(({ deferred }) => !deferred).map(({ name }) => name);
    await this.#connection.query('set constraints all deferred');
    if (immediate.length > 0) await this.#connection.query(`set constraints ${immediate.join(', ')} immediate`);
  }
}
