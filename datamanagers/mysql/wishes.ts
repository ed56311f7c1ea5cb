/**
 * What a library that makes its own connections wants of them: as far as a statement can say it, each does; the rest must be so for the
 * pool that its connections really are of.
 */
import { ConfigurationError, describe } from '../../coordinator/errors.ts';
import type { MysqlCallback, MysqlCorePool, MysqlQueryOptions } from './driver.ts';

/** What a module looks like that exports what `mysql2` does. */
export interface MysqlModule {
  readonly createPool: unknown;
  readonly createConnection: unknown;
}

type Format = (this: object, sql: string, values: unknown, namedPlaceholders?: unknown) => string;

/** The parts of the module that aren't declared. */
export interface MysqlParts extends MysqlModule {
  readonly Connection: { readonly prototype: { readonly format: Format; readonly _resolveNamedPlaceholders: unknown } };
  readonly ConnectionConfig: new (options: object) => { readonly clientFlags: number };
}

type Options = Readonly<Record<string, unknown>>;

/** Options of a connection that a statement may have as well. */
const OF_STATEMENTS = [
  'typeCast',
  'rowsAsArray',
  'nestTables',
  'namedPlaceholders',
  'supportBigNumbers',
  'bigNumberStrings',
  'dateStrings',
  'timezone',
];

/** Those by which values become part of a text. */
const OF_TEXTS = ['stringifyObjects', 'timezone', 'namedPlaceholders'];

/** Options that a statement can't have. */
const OF_CONNECTIONS = ['decimalNumbers', 'jsonStrings', 'queryFormat'];

/** Options that a statement can't turn off again. */
const ONLY_ON = ['supportBigNumbers', 'bigNumberStrings', 'dateStrings'];

/** The flag by which an UPDATE counts the rows that it has found, rather than those that it has changed. */
const FOUND_ROWS = 2;

/** Arguments of `query` or `execute`. */
type Asking = [options: MysqlQueryOptions, callback: MysqlCallback | undefined];

export class Wishes {
  readonly #ofStatement: object;
  readonly #format: ((sql: string, values: unknown) => string) | undefined;

  /** @throws ConfigurationError where the library wants what the pool's connections aren't. */
  constructor(name: string, module: MysqlModule, pool: MysqlCorePool, options: Options) {
    const config = pool.config.connectionConfig as Options;
    const { Connection, ConnectionConfig } = module as unknown as MysqlParts;
    for (const key of OF_CONNECTIONS) if (given(options, key)) requireSame(name, key, options[key], config[key]);
    for (const key of ONLY_ON) if (options[key] === false) requireSame(name, key, false, config[key]);
    if (options['typeCast'] === true && typeof config['typeCast'] === 'function') {
      requireSame(name, 'typeCast', true, config['typeCast']);
    }
    if (given(options, 'flags')) {
      const countsFound = (flags: unknown): boolean => (Number(flags) & FOUND_ROWS) !== 0;
      const wanted = countsFound(new ConnectionConfig({ flags: options['flags'] }).clientFlags);
      requireSame(name, 'the flag FOUND_ROWS', wanted, countsFound(config['clientFlags']));
    }
    this.#ofStatement = picked(options, OF_STATEMENTS);
    const { format, _resolveNamedPlaceholders } = Connection.prototype;
    const ofTexts = picked(options, OF_TEXTS);
    const formatter = { config: { ...config, ...ofTexts }, _resolveNamedPlaceholders };
    this.#format =
      Object.keys(ofTexts).length === 0 ? undefined : (sql, values) => format.call(formatter, sql, values ?? []);
  }

  /** The arguments of `query`, as the library wants it to be. */
  query(...args: unknown[]): Asking {
    const [options, done] = this.execute(...args);
    if (this.#format === undefined) return [options, done];
    const sql = this.#format(options.sql, options.values);
    return [{ ...options, sql, values: [], namedPlaceholders: false }, done];
  }

  /** The arguments of `execute`. */
  execute(...args: unknown[]): Asking {
    const [sql, values, callback] = args;
    const isLast = typeof values === 'function';
    const options = { ...this.#ofStatement, ...(typeof sql === 'string' ? { sql } : (sql as MysqlQueryOptions)) };
    if (!isLast && values !== undefined) options.values ??= values;
    return [options, (isLast ? values : callback) as MysqlCallback | undefined];
  }
}

function given(options: Options, key: string): boolean {
  return options[key] !== undefined;
}

function picked(options: Options, keys: readonly string[]): object {
  return Object.fromEntries(keys.filter((key) => given(options, key)).map((key) => [key, options[key]]));
}

function requireSame(name: string, key: string, wanted: unknown, has: unknown): void {
  if (wanted === has || (wanted === false && (has === undefined || has === false))) return;
  throw new ConfigurationError(
    `connections of driver() are those of the pool of '${name}', so that ${key} must be for the pool what the library wants, ${describe(wanted)}; it is ${describe(has)}: make the pool with it`,
    { resource: name },
  );
}
