/** How a transaction begins in MySQL and MariaDB. */
import type { SqlBegin } from '../sql/connection.ts';

/**
 * The statements that begin a transaction: an XA branch named `branch`, else a plain one. Isolation and access mode can only be set
 * ahead of it, for the next transaction.
 */
export function beginTexts({ options, readOnly }: SqlBegin, branch: string | undefined): string[] {
  const texts: string[] = [];
  if (options.isolation !== undefined) texts.push(`set transaction isolation level ${options.isolation}`);
  if (branch === undefined) texts.push(readOnly ? 'start transaction read only' : 'start transaction');
  else texts.push(`xa start ${branch}`);
  return texts;
}
