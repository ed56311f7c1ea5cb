/** Data managers that write down every call, so that a test compares whole sequences. */
import { aBoolean, aFunction, aString, checkOptions, oneOf, type Rule, type Rules } from '../../coordinator/options.ts';
import { isThenable } from '../../coordinator/thenable.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type {
  Awaitable,
  DataManager,
  DataManagerSavepoint,
  RecoverableResource,
  SandboxConduct,
  Vote,
} from '../../coordinator/types.ts';
import { type DataManagerPhase, intercept } from './intercept.ts';

/** What a {@link RecordingDataManager} does besides saying yes to everything at once. */
export interface RecordingOptions {
  /** What it is called in the log; default `recording`. */
  name?: string | undefined;
  /** Where it writes `name.phase` for each call; default a log of its own. Share one to see several in their order. */
  log?: string[] | undefined;
  /** Its place among the others; default its name. */
  sortKey?: string | undefined;
  /** Called in the phases named here, once the call is in the log. What it throws or rejects with fails the phase. */
  does?: { readonly [P in DataManagerPhase]?: (txn: Transaction | undefined) => unknown } | undefined;
  /** What it votes; default `'commit'`. */
  vote?: Vote | undefined;
  /** Its {@link DataManager.changed}: without it, it is a participant that can't be prepared durably; true makes it one that can. */
  changed?: boolean | undefined;
  /** Its {@link DataManager.lastResource}. */
  lastResource?: boolean | undefined;
  /** Its {@link DataManager.onePhase}. */
  onePhase?: boolean | undefined;
  /** Whether it makes savepoints; default true. */
  savepoints?: boolean | undefined;
  /** Whether it can hold what is prepared; default false. */
  holds?: boolean | undefined;
  /** Its {@link DataManager.shouldRetry}. */
  shouldRetry?: ((error: Error) => boolean) | undefined;
  /** Its {@link DataManager.recoverable}. */
  recoverable?: RecoverableResource | undefined;
}

const aLog: Rule = { requires: 'an array', accepts: Array.isArray };
const anObject: Rule = { requires: 'an object', accepts: (value) => typeof value === 'object' && value !== null };

const optionRules: Rules<RecordingOptions> = {
  name: aString,
  log: aLog,
  sortKey: aString,
  does: anObject,
  vote: oneOf('commit', 'read-only'),
  changed: aBoolean,
  lastResource: aBoolean,
  onePhase: aBoolean,
  savepoints: aBoolean,
  holds: aBoolean,
  shouldRetry: aFunction,
  recoverable: anObject,
};

/** A data manager without a resource, which writes down what it is called for. */
export class RecordingDataManager implements DataManager {
  /** Every call as `name.phase`, in order. */
  readonly log: string[];
  /** As {@link RecordingOptions.sortKey}. */
  readonly sortKey: string;
  /** As {@link RecordingOptions.changed}. */
  declare readonly changed?: boolean;
  /** As {@link RecordingOptions.lastResource}. */
  declare readonly lastResource?: boolean;
  /** As {@link RecordingOptions.onePhase}. */
  declare readonly onePhase?: boolean;
  /** As {@link RecordingOptions.recoverable}. */
  declare readonly recoverable?: RecoverableResource;
  /** There unless {@link RecordingOptions.savepoints} is false. */
  declare savepoint?: (txn: Transaction) => Awaitable<DataManagerSavepoint>;
  /** There where {@link RecordingOptions.holds} is true. */
  declare hold?: (txn: Transaction) => Awaitable<void>;
  /** As {@link RecordingOptions.shouldRetry}. */
  declare readonly shouldRetry?: (error: Error) => boolean;
  readonly #name: string;
  readonly #does: NonNullable<RecordingOptions['does']>;
  readonly #vote: Vote;

  /** @throws ConfigurationError for unknown or impossible options. */
  constructor(options: RecordingOptions = {}) {
    checkOptions('new RecordingDataManager()', options, optionRules);
    const { name = 'recording', changed, lastResource, onePhase, shouldRetry, recoverable } = options;
    this.#name = name;
    this.#does = options.does ?? {};
    this.#vote = options.vote ?? 'commit';
    this.log = options.log ?? [];
    this.sortKey = options.sortKey ?? name;
    // A capability is there or isn't: none is left undefined.
    const given = { changed, lastResource, onePhase, shouldRetry, recoverable };
    for (const [key, value] of Object.entries(given)) if (value !== undefined) Object.assign(this, { [key]: value });
    if (options.savepoints !== false) {
      this.savepoint = (txn) =>
        this.#take('savepoint', txn, { rollback: () => this.#take('rollback', undefined, undefined) });
    }
    if (options.holds === true) this.hold = (txn) => this.#take('hold', txn, undefined);
  }

  /** Is recorded, as are all phases. */
  tpcBegin(txn: Transaction): Awaitable<void> {
    return this.#take('tpcBegin', txn, undefined);
  }
  /** Is recorded. */
  commit(txn: Transaction): Awaitable<void> {
    return this.#take('commit', txn, undefined);
  }
  /** Is recorded; answers with {@link RecordingOptions.vote}. */
  tpcVote(txn: Transaction): Awaitable<Vote> {
    return this.#take('tpcVote', txn, this.#vote);
  }
  /** Is recorded. */
  tpcFinish(txn: Transaction): Awaitable<void> {
    return this.#take('tpcFinish', txn, undefined);
  }
  /** Is recorded. */
  tpcAbort(txn: Transaction): Awaitable<void> {
    return this.#take('tpcAbort', txn, undefined);
  }
  /** Is recorded. */
  abort(txn: Transaction): Awaitable<void> {
    return this.#take('abort', txn, undefined);
  }

  /** In a sandbox it is called as ever. */
  sandboxed(): SandboxConduct {
    return { undo: () => undefined };
  }

  /** Writes the call down, does what is to be done in it, and answers synchronously where that does. */
  #take<T>(phase: DataManagerPhase, txn: Transaction | undefined, answer: T): Awaitable<T> {
    this.log.push(`${this.#name}.${phase}`);
    const done = this.#does[phase]?.(txn);
    return isThenable(done) ? Promise.resolve(done).then(() => answer) : answer;
  }
}

/**
 * Makes a data manager write down what it is called for, in place: `name.phase` for each call, into `log`. For one that joined by
 * itself, `txn.joined(session)` finds it.
 *
 * @returns the data manager.
 */
export function recording<D extends DataManager>(manager: D, log: string[], name: string): D {
  return intercept(manager, (phase, proceed) => {
    log.push(`${name}.${phase}`);
    return proceed();
  });
}
