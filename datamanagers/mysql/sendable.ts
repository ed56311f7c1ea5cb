/** What may be sent inside of a transaction. */
import { ConfigurationError, TransactionStateError, describe } from '../../coordinator/errors.ts';
import type { MysqlQueryOptions } from './driver.ts';
import { type MysqlStatement, statementOf } from './statement.ts';

/**
 * Looks at the statement that a method of the session or of a client was given.
 *
 * @throws ConfigurationError where it has no text. TransactionStateError for one that begins or ends a transaction, or commits implicitly.
 */
export function sendable(name: string, method: string, sql: string | MysqlQueryOptions): MysqlStatement {
  const statement = statementOf(textOf(name, method, sql));
  const { control, commits } = statement;
  if (control !== undefined) {
    throw new TransactionStateError(
      `transactions are begun and ended by their coordinator, with commit(), abort() and savepoint(); the statement ${control} was not sent to '${name}'`,
      { resource: name, phase: 'work' },
    );
  }
  if (commits !== undefined) {
    throw new TransactionStateError(
      `a statement inside a transaction must not commit it; ${commits} does so implicitly in MySQL, and was not sent to '${name}': run it outside of the transaction, over the pool`,
      { resource: name, phase: 'work' },
    );
  }
  return statement;
}

/** @throws ConfigurationError where there is none. */
export function textOf(name: string, method: string, sql: string | MysqlQueryOptions): string {
  const text = typeof sql === 'string' ? sql : sql?.sql;
  if (typeof text === 'string') return text;
  throw new ConfigurationError(`${method}() takes a text, or options with a text sql, not ${describe(sql)}`, {
    resource: name,
  });
}
