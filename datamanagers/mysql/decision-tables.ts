/** The tables of a decision store in MySQL or MariaDB, and how they came to be what they are. */
import { environment } from '../../coordinator/environment.ts';
import { type TableNames, checkVersion, notReady, tableNames } from '../sql/decision.ts';
import { errorNumber } from './driver.ts';
import type { PrivatePool } from './private-pool.ts';

const NO_SUCH_TABLE: ReadonlySet<number> = new Set([1146, 1049]);
/** How long one process waits for another that makes the tables, in seconds. */
const LOCK_SECONDS = 30;

/** What each version adds to the one before; never changed once it was released. DDL commits by itself, so each can be repeated. */
function migrations({ node, lease, decision, outbox, audit, dropped }: TableNames): string[][] {
  const ascii = 'character set ascii collate ascii_bin';
  return [
    [
      `create table if not exists ${node} (incarnation varchar(32) ${ascii} primary key, node varchar(255) not null, started_at timestamp(3) not null default current_timestamp(3)) engine=innodb`,
      `create table if not exists ${lease} (incarnation varchar(32) ${ascii} primary key, expires_at timestamp(3) not null) engine=innodb`,
      `create table if not exists ${decision} (gid varchar(64) ${ascii} primary key, incarnation varchar(32) ${ascii} not null, outcome char(1) ${ascii} not null,
        participants text not null, created_at timestamp(3) not null default current_timestamp(3), key (created_at)) engine=innodb`,
      `create table if not exists ${outbox} (gid varchar(64) ${ascii}, seq int, target varchar(64) ${ascii} not null, payload longtext character set utf8mb4 not null, attempts int not null default 0,
        dead tinyint not null default 0, error text, next_at timestamp(3) not null, created_at timestamp(3) not null default current_timestamp(3), primary key (gid, seq), key (dead, next_at)) engine=innodb`,
      `create table if not exists ${audit} (id bigint auto_increment primary key, at timestamp(3) not null default current_timestamp(3), gid varchar(64) ${ascii} not null, action varchar(10) ${ascii} not null,
        forced tinyint not null, done_by varchar(200) character set utf8mb4 not null, key (gid)) engine=innodb`,
    ],
    [
      `create table if not exists ${dropped} (id bigint auto_increment primary key, at timestamp(3) not null default current_timestamp(3), gid varchar(64) ${ascii} not null, seq int not null,
        target varchar(64) ${ascii} not null, attempts int not null, error text character set utf8mb4, stored_at timestamp(3) not null default current_timestamp(3),
        forced tinyint not null, done_by varchar(200) character set utf8mb4 not null, key (gid)) engine=innodb`,
      `alter table ${outbox} modify error text character set utf8mb4`,
    ],
  ];
}

export class MysqlDecisionTables {
  readonly names: TableNames;
  readonly #pool: PrivatePool;

  constructor(pool: PrivatePool, prefix: string) {
    this.#pool = pool;
    this.names = tableNames(prefix);
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
      const { rows } = await this.#pool.query<{ name: string; value: string }>(
        `select name, value from ${this.names.meta}`,
      );
      const values = new Map(rows.map(({ name, value }) => [name, value]));
      const store = values.get('store');
      return store === undefined ? undefined : { store, version: Number(values.get('version')) };
    } catch (error) {
      if (NO_SUCH_TABLE.has(errorNumber(error) ?? 0)) return undefined;
      throw error;
    }
  }

  /** One process at a time. */
  async #migrate(): Promise<void> {
    const { meta } = this.names;
    await this.#pool.with(async (ask) => {
      const lock = `'${meta}'`;
      await ask(`do get_lock(${lock}, ${LOCK_SECONDS})`);
      try {
        await ask(
          `create table if not exists ${meta} (name varchar(20) primary key, value varchar(64) not null) engine=innodb`,
        );
        await ask(`insert ignore into ${meta} values ('store', '${environment.randomHex(5)}'), ('version', '0')`);
        const { rows } = await ask<{ value: string }>(`select value from ${meta} where name = 'version'`);
        const steps = migrations(this.names);
        checkVersion(Number(rows[0]!.value), steps.length);
        for (const step of steps.slice(Number(rows[0]!.value)).flat()) await ask(step);
        await ask(`update ${meta} set value = '${steps.length}' where name = 'version'`);
      } finally {
        await ask(`do release_lock(${lock})`);
      }
    });
  }
}
