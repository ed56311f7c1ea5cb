/** What a library is handed where it asks a pool for a connection inside of a transaction. */
import { EventEmitter } from 'node:events';
import type { Transaction } from '../../coordinator/transaction.ts';
import { type Control, controlOf } from '../sql/control.ts';
import { type Enlisting, Enlistment } from '../sql/enlistment.ts';
import { lexicon } from '../sql/statement.ts';
import type { PgConnection } from './connection.ts';
import type {
  PgClient,
  PgClientClass,
  PgPool,
  PgQueryConfig,
  PgResult,
  PgSubmittable,
  PgTypeParser,
  PgTypes,
} from './driver.ts';
import { type Callback, mayTravelWithOthers, refuseControl, runQuery } from './query.ts';

/** What a statement says of a client's own transaction. */
export const controlIn: (text: string) => Control | undefined = controlOf(lexicon);

/**
 * Looks like a client of `pg`, and sends its statements over the connection of a transaction, where its own BEGIN, COMMIT and ROLLBACK
 * come to a savepoint. It never emits `error`: where the connection dies, the statements fail.
 */
export class EnlistedClient extends EventEmitter {
  /** The session that it is of. */
  readonly name: string;
  protected readonly enlistment: Enlistment;
  readonly #makeBlank: () => PgClient;
  #blank: PgClient | undefined = undefined;
  #types: PgTypes | undefined;

  /** `txn` is the transaction that it is taken for; without one, it finds that of the calling code at each statement. */
  constructor(session: Enlisting, pool: PgPool, txn: Transaction | undefined, types?: PgTypes) {
    super();
    this.name = session.name;
    this.enlistment = new Enlistment(session, txn);
    this.#types = types;
    const { Client } = pool as PgPool & { Client: PgClientClass };
    this.#makeBlank = () => new Client({ ...pool.options, ...(types === undefined ? {} : { types }) });
  }

  /** As `query` of `pg`, in all its forms. */
  query(
    config: string | PgQueryConfig | PgSubmittable,
    values?: unknown[] | Callback<PgResult>,
    callback?: Callback<PgResult>,
  ): unknown {
    return runQuery(this, config, values, callback);
  }

  /** @internal Runs a statement, or does what it says of the client's own transaction. */
  run(text: string | undefined, config: string | PgQueryConfig, values: unknown[] | undefined): Promise<PgResult> {
    const control = text === undefined ? undefined : controlIn(text);
    const send = (connection: PgConnection): Promise<PgResult> => connection.query(this.typed(config), values);
    if (control === undefined) {
      refuseControl(this.name, text);
      return this.perform(send, undefined, () => mayTravelWithOthers(config, values));
    }
    if (!('name' in control)) return this.enlistment.control(control).then(resultOf);
    return this.enlistment.performInOwn(control, (connection) => send(connection as PgConnection));
  }

  /** @internal Runs work on the connection of the transaction, in turn. */
  perform<T>(work: (connection: PgConnection) => Promise<T>, stop?: () => void, shares?: () => boolean): Promise<T> {
    return this.enlistment.perform((connection) => this.#heard(connection as PgConnection, work), stop, shares);
  }

  /** Hands on what the server says meanwhile, where anybody listens. */
  #heard<T>(connection: PgConnection, work: (connection: PgConnection) => Promise<T>): Promise<T> {
    if (this.listenerCount('notice') === 0) return work(connection);
    return connection.whileHearing('notice', (notice) => this.emit('notice', notice), work);
  }

  /** Parsers of the client's own are for its own statements, but for one that brings others. */
  protected typed(config: string | PgQueryConfig): string | PgQueryConfig {
    const types = this.#types;
    if (types === undefined) return config;
    return typeof config === 'string' ? { text: config, types } : { types, ...config };
  }

  /** Ends its use. What it has begun and not ended is rolled back; nothing happens to the connection, whatever `error` says. */
  readonly release = (_error?: Error | boolean): void => this.enlistment.release();

  /** The server's process, once the transaction has sent a statement; else null. */
  get processID(): number | null {
    return (this.enlistment.connection as PgConnection | undefined)?.processId ?? null;
  }

  /** A client that is never connected: it knows what can be told without a server. */
  get #offline(): PgClient {
    return (this.#blank ??= this.#makeBlank());
  }

  /** As in `pg`. */
  escapeIdentifier(value: string): string {
    return this.#offline.escapeIdentifier(value);
  }

  /** As in `pg`. */
  escapeLiteral(value: string): string {
    return this.#offline.escapeLiteral(value);
  }

  /** As in `pg`. */
  getTypeParser(oid: number, format?: 'text' | 'binary'): PgTypeParser {
    return this.#offline.getTypeParser(oid, format);
  }

  /** As in `pg`: holds for what this client asks for. */
  setTypeParser(oid: number, format: 'text' | 'binary' | PgTypeParser, parse?: PgTypeParser): void {
    this.#offline.setTypeParser(oid, format, parse);
    this.#types = this.#offline;
  }
}

/** What `pg` returns for a statement that has no rows. */
export function resultOf(command: string): PgResult {
  return { command, rowCount: null, oid: null as never, fields: [], rows: [] };
}
