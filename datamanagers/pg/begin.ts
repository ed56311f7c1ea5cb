/** How a transaction begins in PostgreSQL. */
import type { IsolationLevel } from '../../coordinator/types.ts';

/** The statement that begins a transaction with these options. */
export function beginText(isolation: IsolationLevel | undefined, readOnly: boolean, deferrable: boolean): string {
  let text = 'begin';
  if (isolation !== undefined) text += ` isolation level ${isolation}`;
  if (readOnly) text += ' read only';
  if (deferrable) text += ' deferrable';
  return text;
}
