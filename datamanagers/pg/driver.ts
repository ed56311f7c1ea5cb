/**
 * The part of `pg` that is used, by structure: this package depends neither on `pg` nor on its types, and takes whatever pool
 * the application has made.
 */

/** What `pg` calls a query configuration. */
export interface PgQueryConfig {
  text: string;
  values?: unknown[] | undefined;
  /** Name of a prepared statement. */
  name?: string | undefined;
  /** `'array'` for rows as arrays. */
  rowMode?: 'array' | undefined;
  types?: unknown;
  /** Milliseconds after which the wait for the result is given up; in a transaction, the server is told to stop the statement. */
  query_timeout?: number | undefined;
}

/** A query that speaks the protocol by itself: a cursor, a query stream, a COPY stream. */
export interface PgSubmittable {
  // `any`: pg's own connection type; a narrower one would refuse pg's classes.
  submit(connection: any): void;
}

/** A column of a result, as `pg` describes it. */
export interface PgField {
  name: string;
  tableID: number;
  columnID: number;
  dataTypeID: number;
  dataTypeSize: number;
  dataTypeModifier: number;
  format: string;
}

/** A result, as `pg` makes it. */
export interface PgResult<R = any> {
  command: string;
  rowCount: number | null;
  oid: number;
  fields: PgField[];
  rows: R[];
}

/** A pool of `pg`: `new pg.Pool(…)`. */
export interface PgPool {
  connect(): Promise<PgPoolClient>;
  readonly options: object;
  readonly totalCount?: number;
  readonly idleCount?: number;
  readonly waitingCount?: number;
}

/** A connection checked out of a pool. */
export interface PgPoolClient {
  // `any`: the overloads of pg's own method, which a pool of the user's must satisfy.
  query(config: any, values?: any): any;
  on(event: any, listener: (...args: any[]) => void): unknown;
  removeListener(event: string, listener: (...args: any[]) => void): unknown;
  release(error?: Error | boolean): void;
}

// What follows is there at run time, and not in the types that a user's pool is checked against.

export interface PgWire {
  readonly stream: { write(messages: Buffer): void; destroy(error?: Error): void; cork(): void; uncork(): void };
  /** The text of each statement that was prepared, by its name. */
  readonly parsedStatements: Record<string, string>;
  /** The same of those that are being prepared; not in every version of pg 8. */
  readonly submittedNamedStatements?: Record<string, string>;
  execute(message: { portal: string }): void;
  sync(): void;
}

/** A client with the parts that are not declared. */
export interface PgClient extends PgPoolClient {
  readonly connection: PgWire;
  /** Whether it sends statements without waiting for those before, each with a Sync of its own. */
  readonly pipeline?: boolean;
  readonly binary?: boolean;
  readonly connectionParameters?: { readonly query_timeout?: unknown };
  readonly processID: number | null;
  getTransactionStatus?(): string | null;
  once(event: string, listener: (...args: never[]) => void): unknown;
  connect(): Promise<unknown>;
  end(): Promise<void>;
  escapeIdentifier(value: string): string;
  escapeLiteral(value: string): string;
  getTypeParser(oid: number, format?: 'text' | 'binary'): PgTypeParser;
  setTypeParser(oid: number, format: 'text' | 'binary' | PgTypeParser, parse?: PgTypeParser): void;
}

/** Makes a value of what the server sends. */
export type PgTypeParser = (value: never) => unknown;

/** Knows the parser of each type. */
export interface PgTypes {
  getTypeParser(oid: number, format?: 'text' | 'binary'): PgTypeParser;
}

export interface PgClientClass {
  new (options: object): PgClient;
  readonly Query: PgQueryClass;
}

/** `pg`'s own query, of which a flight is a subclass. */
export interface PgQuery {
  text: string | undefined;
  name: string | undefined;
  values: unknown[] | undefined;
  rows: number | undefined;
  queryMode: string | undefined;
  binary: boolean | undefined;
  callback: ((error: Error | null | undefined, result?: PgResult) => void) | undefined;
  submit(connection: PgWire): Error | null;
  requiresPreparation(): boolean;
  prepare(connection: PgWire): void;
  _getRows(connection: PgWire, rows: number | undefined): void;
  handleRowDescription(message: unknown): void;
  handleDataRow(message: { fields: unknown[] }): void;
  handleCommandComplete(message: unknown, connection: PgWire): void;
  handleEmptyQuery(connection: PgWire): void;
  handleError(error: Error, connection: PgWire): void;
  handleReadyForQuery(connection: PgWire): void;
  handlePortalSuspended(connection: PgWire): void;
  handleCopyInResponse(connection: PgWire): void;
  handleCopyData(message: unknown, connection: PgWire): void;
  readonly _result: { _types?: unknown };
}

export type PgQueryClass = new (config: string | object, values?: unknown[]) => PgQuery;

/** An error that the server sent, as `pg` makes it. */
export interface PgServerError extends Error {
  /** SQLSTATE: five characters. */
  code: string;
  severity?: string;
}

/** The SQLSTATE of an error that the server sent; undefined for any other. */
export function sqlState(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && 'severity' in (error as object) ? code : undefined;
}
