/**
 * The part of `mysql2` that is used, by structure: this package depends neither on `mysql2` nor on its types, and takes whatever
 * pool the application has made.
 */

import type { Readable } from 'node:stream';

/** A pool of `mysql2`: of `mysql2/promise` or of `mysql2` itself. */
export interface MysqlPool {
  getConnection(...args: any[]): any;
  query(...args: any[]): any;
  execute(...args: any[]): any;
}

/** What `mysql2` calls query options. */
export interface MysqlQueryOptions {
  sql: string;
  values?: any;
  /** Milliseconds after which the wait for the result is given up; in a transaction, the server is told to stop the statement. */
  timeout?: number | undefined;
  rowsAsArray?: boolean | undefined;
  nestTables?: boolean | string | undefined;
  typeCast?: any;
  namedPlaceholders?: boolean | undefined;
  [option: string]: any;
}

/** A column of a result, as `mysql2` describes it. */
export interface MysqlField {
  name: string;
  [property: string]: any;
}

/** What a statement without rows returns, as `mysql2` makes it. */
export interface MysqlResultHeader {
  affectedRows: number;
  fieldCount: number;
  info: string;
  insertId: number;
  serverStatus: number;
  warningStatus: number;
  changedRows?: number | undefined;
}

/** A statement that was prepared by {@link MysqlSession.prepare}. */
export interface MysqlPreparedStatement {
  /** Runs it; the same as `MysqlSession.execute` in all else. */
  execute<T = any>(values?: any): Promise<[T, MysqlField[]]>;
  /** Lets the server forget it. */
  close(): Promise<void>;
}

// What follows is there at run time, and not in the types that a user's pool is checked against.

/** What a callback of `mysql2` gets. */
export type MysqlCallback = (error: MysqlError | null | undefined, rows?: unknown, fields?: MysqlField[]) => void;

/** A command under way. */
export interface MysqlCommand {
  /** Answers its packets; true when it is through. */
  execute(packet: unknown, connection: MysqlCore): boolean;
  /** Sends it, and returns what takes the first packet of the answer. */
  start(packet: unknown, connection: MysqlCore): unknown;
  next: unknown;
  onResult?: MysqlCallback | undefined;
  once(event: 'end', listener: () => void): unknown;
  once(event: 'result', listener: (rowOrHeader: unknown) => void): unknown;
  on(event: 'error', listener: (error: MysqlError) => void): unknown;
  on(event: 'fields', listener: (fields: MysqlField[] | undefined) => void): unknown;
  removeAllListeners(event: 'result'): unknown;
  stream(options?: object): Readable;
}

/** A connection of the callback interface, on which that of promises is built. */
export interface MysqlCore {
  readonly threadId: number | null;
  readonly config: { readonly compress?: unknown };
  readonly stream: { destroy(error?: Error): void; ref?(): void; unref?(): void };
  sequenceId: number;
  _resetSequenceId(): void;
  addCommand(command: object): unknown;
  query(options: string | object, values?: unknown, callback?: MysqlCallback): MysqlCommand;
  execute(options: string | object, values?: unknown, callback?: MysqlCallback): MysqlCommand;
  prepare(sql: string, callback?: MysqlCallback): unknown;
  unprepare(sql: string): unknown;
  connect(callback: (error: Error | null | undefined) => void): void;
  on(event: string, listener: (error: Error) => void): unknown;
  removeListener(event: string, listener: (error: Error) => void): unknown;
  release(): void;
  destroy(): void;
}

/** The class of connections. */
export interface MysqlCoreClass {
  new (options: { config: object }): MysqlCore;
  createQuery?(this: void, sql: string, values: undefined, callback: MysqlCallback, config: object): MysqlCommand;
}

/** A pool of the callback interface. */
export interface MysqlCorePool {
  getConnection(callback: (error: Error | null, connection: MysqlCore) => void): void;
  query(...args: unknown[]): unknown;
  execute(...args: unknown[]): unknown;
  releaseConnection(connection: unknown): void;
  format(sql: string, values?: unknown): string;
  escape(value: unknown): string;
  escapeId(value: unknown): string;
  promise(implementation?: unknown): unknown;
  readonly config: { readonly connectionConfig: object; readonly connectionLimit?: number };
  readonly _allConnections?: { readonly length: number };
  readonly _freeConnections?: { readonly length: number };
  readonly _connectionQueue?: { readonly length: number };
}

/** An error, as `mysql2` makes it. */
export interface MysqlError extends Error {
  /** The server's number of the error, or the system's. */
  errno?: number;
  /** SQLSTATE: five characters; only of errors that the server sent. */
  sqlState?: string;
  code?: string;
  /** Whether the connection is gone. */
  fatal?: boolean;
}

/** The server's number of an error that it sent; undefined for any other. */
export function errorNumber(error: unknown): number | undefined {
  const { errno, sqlState } = (error ?? {}) as Partial<MysqlError>;
  return typeof errno === 'number' && typeof sqlState === 'string' ? errno : undefined;
}

/** The pool of the callback interface, of either kind; undefined where it is none of `mysql2`. */
export function corePoolOf(pool: unknown): MysqlCorePool | undefined {
  const candidate = pool as { pool?: unknown; getConnection?: unknown; config?: unknown } | null | undefined;
  if (typeof candidate !== 'object' || candidate === null || typeof candidate.getConnection !== 'function')
    return undefined;
  const core = (candidate.pool ?? candidate) as MysqlCorePool;
  return typeof core.getConnection === 'function' && typeof core.config?.connectionConfig === 'object'
    ? core
    : undefined;
}
