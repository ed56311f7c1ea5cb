/** Transactions of MySQL and MariaDB that are savepoints of one. */
import type { Rehearsal } from '../sql/sandbox.ts';

/** A COMMIT checks nothing that a statement hasn't; and what was written shows by the statements alone. */
export const mysqlRehearsal: Rehearsal = {
  readOnly: () => Promise.resolve(),
  writers: () => Promise.resolve(undefined),
  checkDeferred: () => Promise.resolve(),
};
