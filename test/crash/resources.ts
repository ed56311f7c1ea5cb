// What a process of the crash matrix works with: two databases, a decision log in one of them or in a third, and a coordinator.
import driver from 'mysql2/promise';
import pg from 'pg';
import { type CoordinatorOptions, type DecisionLog, register, TransactionCoordinator } from 'unanimous';
import { MysqlDecisionLog, MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';

/** The kinds of database that are tried. */
export type Kind = 'PostgreSQL' | 'MariaDB';

/** Where a database is. */
export interface Place {
  readonly kind: Kind;
  readonly url: string;
}

/** Where everything is that a coordinator needs, and how patient it is. */
export interface Setting {
  readonly app: string;
  /** The databases that are changed. */
  readonly a: Place;
  readonly b: Place;
  /** Where decisions are kept: `'a'`, or a database of their own. */
  readonly store: Place | 'a';
  readonly tablePrefix: string;
  readonly leaseMs: number;
  /** Mean time between two passes of recovery. */
  readonly everyMs: number;
  /** For how long a decision is looked for before what is prepared is held. */
  readonly decisionTimeoutMs: number;
  /** How long an answer to what ends a transaction may take. */
  readonly endTimeoutMs: number;
  /** For how long what is prepared is tried to be ended before that is left to recovery. */
  readonly resolveTimeoutMs: number;
  /** After how many seconds without a word MariaDB lets others end what a connection has prepared. */
  readonly preparedWaitSeconds: number;
}

/** A database in transactions. */
export interface Resource {
  readonly session: PgSession | MysqlSession;
  /** Changes something, which can be told by the number. */
  write(id: number): Promise<unknown>;
  end(): Promise<void>;
}

function openResource(
  name: string,
  { kind, url }: Place,
  coordinator: TransactionCoordinator,
  { endTimeoutMs, resolveTimeoutMs, preparedWaitSeconds }: Setting,
): Resource {
  const options = { name, endTimeoutMs, resolveTimeoutMs, acquireTimeoutMs: 5_000 };
  if (kind === 'PostgreSQL') {
    const pool = new pg.Pool({ connectionString: url, max: 3, connectionTimeoutMillis: 5_000 });
    pool.on('error', () => undefined);
    const session = register(new PgSession(pool, options), { coordinator });
    return {
      session,
      write: (id) => session.query('insert into moves values ($1)', [id]),
      end: () => pool.end(),
    };
  }
  const pool = driver.createPool({ uri: url, connectionLimit: 3, connectTimeout: 5_000 });
  const session = register(new MysqlSession(pool, { ...options, preparedWaitSeconds }), { coordinator });
  return {
    session,
    write: (id) => session.query('insert into moves values (?)', [id]),
    end: () => pool.end(),
  };
}

function openLog({ session }: Resource, tablePrefix: string): DecisionLog {
  const options = { tablePrefix, timeoutMs: 5_000 };
  return session instanceof PgSession ? new PgDecisionLog(session, options) : new MysqlDecisionLog(session, options);
}

/** A coordinator, and the databases that its transactions change. */
export interface Opened {
  readonly coordinator: TransactionCoordinator;
  readonly a: Resource;
  readonly b: Resource;
  close(): Promise<void>;
}

/** Opens what a process has. */
export function open(setting: Setting, options: CoordinatorOptions = {}): Opened {
  const { app, decisionTimeoutMs, everyMs, leaseMs, tablePrefix } = setting;
  const coordinator = new TransactionCoordinator({ app });
  const [a, b] = [
    openResource('a', setting.a, coordinator, setting),
    openResource('b', setting.b, coordinator, setting),
  ];
  const store = setting.store === 'a' ? a : openResource('store', setting.store, coordinator, setting);
  coordinator.configure({
    decisionLog: openLog(store, tablePrefix),
    decisionTimeoutMs,
    recovery: { everyMs, leaseMs },
    ...options,
  });
  const close = async (): Promise<void> => {
    await coordinator.close();
    await Promise.all([...new Set([a, b, store])].map((resource) => resource.end()));
  };
  return { coordinator, a, b, close };
}
