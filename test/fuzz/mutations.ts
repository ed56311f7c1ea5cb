// Mistakes that programs like these are there to find, as changes of the sources: the fuzzing must find each of them.
import { type Change, runChanged } from '../support/mistakes.ts';

export interface Mutation {
  /** The mistake, in words. */
  readonly name: string;
  /** Which programs find it. */
  readonly kind: 'api' | 'sql' | 'mariadb';
  readonly changes: readonly Change[];
}

const SAVEPOINT = 'coordinator/savepoint.ts';
const TRANSACTION = 'coordinator/transaction.ts';
const RUN_JOINED = 'coordinator/run-joined.ts';
const BRANCH = 'datamanagers/sql/branch.ts';
const PG = 'datamanagers/pg/connection.ts';
const MYSQL = 'datamanagers/mysql/connection.ts';

/** A rollback that a branch sends the first time only. */
const SENT_ONCE: readonly Change[] = [
  {
    file: BRANCH,
    from: '    return {\n      rollback: async () => {\n',
    to: '    let isSent = false;\n    return {\n      rollback: async () => {\n        if (isSent) return;\n        isSent = true;\n',
  },
];
/** What `rollbackTo` of a connection says of its errors. */
const ERROR_FORGOTTEN = 'this.maybeWrote = state.maybeWrote;\n    this.firstError = undefined;';
const ERROR_KEPT = 'this.maybeWrote = state.maybeWrote;';

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'a repeated rollback to a savepoint isn’t passed on',
    kind: 'api',
    changes: [
      { file: SAVEPOINT, from: 'const FEW = 32;', to: 'const FEW = 32;\nconst told = new WeakSet<object>();' },
      {
        file: SAVEPOINT,
        from: ': part.made.rollback();',
        to: ': told.has(part) ? undefined : (told.add(part), part.made.rollback());',
      },
    ],
  },
  { name: 'a repeated rollback to a savepoint isn’t sent to PostgreSQL', kind: 'sql', changes: SENT_ONCE },
  { name: 'a repeated rollback to a savepoint isn’t sent to MariaDB', kind: 'mariadb', changes: SENT_ONCE },
  {
    name: 'the error of a statement on PostgreSQL is kept though it was rolled back',
    kind: 'sql',
    changes: [{ file: PG, from: ERROR_FORGOTTEN, to: ERROR_KEPT }],
  },
  {
    name: 'the error of a statement on MariaDB is kept though it was rolled back',
    kind: 'mariadb',
    changes: [{ file: MYSQL, from: ERROR_FORGOTTEN, to: ERROR_KEPT }],
  },
  {
    name: 'savepoints made later stay valid after a rollback to an earlier one',
    kind: 'api',
    changes: [{ file: TRANSACTION, from: ') later.invalidate();', to: ') void later;' }],
  },
  {
    name: 'hooks that were added behind a savepoint survive a rollback to it',
    kind: 'api',
    changes: [{ file: SAVEPOINT, from: 'txn.hooks?.truncate(this.#hooks);', to: '' }],
  },
  {
    name: 'what joined behind a savepoint is aborted again by a repeated rollback to it',
    kind: 'api',
    changes: [
      { file: SAVEPOINT, from: 'if (!this.#txn.unjoin(manager)) return undefined;', to: 'this.#txn.unjoin(manager);' },
    ],
  },
  {
    name: 'the error of a function that takes part is forgotten when its caller catches it',
    kind: 'api',
    changes: [{ file: RUN_JOINED, from: "else if (txn.status === 'active') txn.doom(toError(thrown));", to: '' }],
  },
  {
    name: 'the error of a function that takes part in a nested run is forgotten when its caller catches it',
    kind: 'api',
    changes: [
      { file: RUN_JOINED, from: 'if (frame.failure !== undefined) throw doomedFrame(txn, frame.failure);', to: '' },
    ],
  },
  {
    name: 'a deadline of a function that takes part is still watched when that has ended',
    kind: 'api',
    changes: [{ file: RUN_JOINED, from: '  } finally {\n    deadline?.clear();\n  }\n', to: '  }\n' }],
  },
  {
    name: 'an error that only a cursor on PostgreSQL was told of isn’t noted',
    kind: 'sql',
    changes: [{ file: PG, from: 'this.firstError ??= error;\n      return handleError', to: 'return handleError' }],
  },
  {
    name: 'a savepoint is made on MariaDB behind a statement that has failed',
    kind: 'mariadb',
    changes: [{ file: MYSQL, from: 'if (this.failed) throw this.#savepointTooLate();', to: '' }],
  },
];

/** Lets the fuzzing look for a mistake; resolves with what it says, and whether it has found a difference. */
export async function hunt(
  { kind, changes }: Mutation,
  { seed, seconds }: { readonly seed: number; readonly seconds: number },
): Promise<{ isFound: boolean; output: string }> {
  const numbers = ['--seed', String(seed), '--seconds', String(seconds), '--runs', '1000000'];
  const args = ['--only', kind, ...numbers, '--unshrunk'];
  const { code, output } = await runChanged('test/fuzz/main.ts', changes, args);
  const isFound = code === 1 && output.includes('found with --seed');
  const isThrough = isFound || (code === 0 && output.includes('nothing was found'));
  if (!isThrough) throw new Error(`the fuzzing could not be run, it ended with ${code}:\n${output}`);
  return { isFound, output };
}
