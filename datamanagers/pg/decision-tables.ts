/** The tables of a decision store in PostgreSQL, and how they came to be what they are. */
import { environment } from '../../coordinator/environment.ts';
import { type TableNames, checkVersion, notReady, tableNames } from '../sql/decision.ts';
import { sqlState } from './driver.ts';
import type { PrivatePool } from './private-pool.ts';

const NO_SUCH_TABLE = '42P01';
const NO_SUCH_SCHEMA = '3F000';

/** What each version adds to the one before; never changed once it was released. */
function migrations({ node, lease, decision, outbox, audit, dropped }: TableNames): string[] {
  return [
    `create table ${node} (incarnation text primary key, node text not null, started_at timestamptz not null default now());
     create table ${lease} (incarnation text primary key, expires_at timestamptz not null);
     create table ${decision} (gid text primary key, incarnation text not null, outcome text not null check (outcome in ('C', 'A')),
       participants text not null, created_at timestamptz not null default now());
     create index on ${decision} (created_at);
     create table ${outbox} (gid text, seq int, target text not null, payload text not null, attempts int not null default 0, dead boolean not null default false,
       error text, next_at timestamptz not null, created_at timestamptz not null default now(), primary key (gid, seq));
     create index on ${outbox} (next_at) where not dead;
     create table ${audit} (id bigint generated always as identity primary key, at timestamptz not null default now(), gid text not null, action text not null,
       forced boolean not null, done_by text not null);
     create index on ${audit} (gid);`,
    `create table ${dropped} (id bigint generated always as identity primary key, at timestamptz not null default now(), gid text not null, seq int not null,
       target text not null, attempts int not null, error text, stored_at timestamptz not null, forced boolean not null, done_by text not null);
     create index on ${dropped} (gid);`,
  ];
}

export class PgDecisionTables {
  readonly names: TableNames;
  readonly #pool: PrivatePool;

  constructor(pool: PrivatePool, prefix: string) {
    this.#pool = pool;
    this.names = tableNames(prefix);
  }

  /** Whether the server means the table of decisions. */
  isDecision(table: unknown): boolean {
    return table === this.names.decision.split('.').at(-1);
  }

  /**
   * Brings the tables to the version that is needed, and returns the identity of the store.
   * @throws ConfigurationError when they are of a later version, or of another one and must not be changed.
   */
  async open(create = true): Promise<string> {
    const found = await this.#read();
    const version = migrations(this.names).length;
    if (found?.version === version) return found.store;
    if (!create) throw notReady(this.names.meta, found?.version, version);
    await this.#migrate();
    return (await this.#read())!.store;
  }

  async #read(): Promise<{ store: string; version: number } | undefined> {
    try {
      const { rows } = await this.#pool.query<{ key: string; value: string }>(
        `select key, value from ${this.names.meta}`,
      );
      const values = new Map(rows.map(({ key, value }) => [key, value]));
      const store = values.get('store');
      return store === undefined ? undefined : { store, version: Number(values.get('version')) };
    } catch (error) {
      if (sqlState(error) === NO_SUCH_TABLE || sqlState(error) === NO_SUCH_SCHEMA) return undefined;
      throw error;
    }
  }

  /** One process at a time, in one transaction. */
  async #migrate(): Promise<void> {
    const { meta } = this.names;
    const client = await this.#pool.connect();
    try {
      await client.query('begin');
      await client.query(`select pg_advisory_xact_lock(hashtext($1))`, [meta]);
      await client.query(`create table if not exists ${meta} (key text primary key, value text not null)`);
      await client.query(`insert into ${meta} values ('store', $1), ('version', '0') on conflict do nothing`, [
        environment.randomHex(5),
      ]);
      const { rows } = await client.query<{ value: string }>(`select value from ${meta} where key = 'version'`);
      const version = Number(rows[0]!.value);
      const steps = migrations(this.names);
      checkVersion(version, steps.length);
      for (const step of steps.slice(version)) await client.query(step);
      await client.query(`update ${meta} set value = $1 where key = 'version'`, [String(steps.length)]);
      await client.query('commit');
    } catch (error) {
      await client.query('rollback').catch(() => undefined);
      throw error;
    } finally {
      client.release();
    }
  }
}
