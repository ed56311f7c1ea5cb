/** Numbers that no two sessions of a transaction share. */
import type { Transaction } from '../../coordinator/transaction.ts';

/** The next number of those that are kept under `key` in the transaction, from 1. */
export function nextNumber(txn: Transaction, key: symbol): number {
  const next = ((txn.data(key) as number | undefined) ?? 0) + 1;
  txn.setData(key, next);
  return next;
}
