/** The rules that the checks are about, as they stand where they are written down, and the error of breaking one. */

/** A rule and where it stands. */
export interface ContractRule {
  /** The file that it is written in. */
  readonly source: string;
  /** Its words there. */
  readonly text: string;
}

const contract = (text: string): ContractRule => ({ source: 'coordinator/types.ts', text });
const page = (text: string): ContractRule => ({ source: 'docs/data-managers.md', text });

/** @internal Quoted to the letter, which a test makes sure of. */
export const RULES = {
  join: page('**Join before the first change**, synchronously'),
  onePerTransaction: contract('one object per transaction'),
  sortKey: contract('Read once, when it joins'),
  handOver: contract('Hand over all changes, so that only their being made durable remains.'),
  vote: contract('Say yes by returning, after which `tpcFinish` must succeed, or no by throwing.'),
  finish: contract('All have voted yes: make it so.'),
  mustFinish: contract('Must not fail; where it does, the transaction is in doubt.'),
  decided: contract(
    'After the last vote the outcome is decided, and `tpcFinish` is called on all, even where one of them throws.',
  ),
  tpcAbort: contract('Somebody voted no: undo everything since `tpcBegin`.'),
  abort: contract('Undo everything since the data manager joined.'),
  idempotent: contract(
    'both `abort` and `tpcAbort` must be idempotent, may come without `tpcBegin`, and must not throw for having nothing to do',
  ),
  onceMore: contract('`abort()` on a transaction whose commit failed calls `abort` once more'),
  rejoin: contract('After `abort` a data manager that works on must join again'),
  released: contract(
    'there was nothing to commit and that everything is released: the data manager is not called again in this transaction, whatever its outcome',
  ),
  savepoint: contract('Undo everything since the savepoint was made. May be called more than once'),
  noSavepoint: contract('Without it, `savepoint()` is refused while this is joined'),
  shouldRetry: contract('says that an error is transient, so that the whole transaction may be tried again'),
  lastResource: contract('It votes after all others, and its vote is its commit'),
  oneLastResource: contract('At most one such resource may have changes in a transaction.'),
  changed: contract('whether there is anything to commit, asked after `commit`.'),
  onePhase: contract('true where its vote may be its commit when nothing else has changes'),
  recoverable: contract('its branch can be prepared and found again after a crash.'),
  cancel: contract('Must not throw.'),
  hold: contract(
    'Keep what is prepared, give back all else (the connection); nothing more is called in this transaction.',
  ),
  name: contract("Stable name: the branch qualifier of this resource's part of a transaction."),
  listPrepared: contract('The branches of this application that are prepared now.'),
  commitPrepared: contract('Commits a prepared branch, over any connection.'),
  rollbackPrepared: contract('Rolls a prepared branch back, over any connection.'),
  closed: page('Work in a transaction that is being ended, or has ended, is refused'),
  settled: page('Every call is answered, in a bounded time'),
  givenBack: page('Once the transaction has ended it holds nothing'),
  declared: page('What it can do it says, and what it says it can do'),
} as const satisfies Record<string, ContractRule>;

/** A data manager breaks a rule of the contract. */
export class ConformanceError extends Error {
  override readonly name = 'ConformanceError';
  /** The rule that was broken; undefined where the subject, rather than its data manager, isn't as it must be. */
  readonly rule: ContractRule | undefined;

  /** @internal */
  constructor(rule: ContractRule | undefined, seen: string, cause?: unknown) {
    const because = cause instanceof Error ? ` (${cause.name}: ${cause.message})` : '';
    super(
      rule === undefined ? `${seen}${because}` : `${seen}${because}; ${rule.source} says: "${rule.text}"`,
      cause === undefined ? undefined : { cause },
    );
    this.rule = rule;
  }
}
