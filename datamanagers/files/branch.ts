/** The changes that one session makes to files in one transaction. */
import { ConcurrentUseError } from '../../coordinator/errors.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type {
  Awaitable,
  DataManager,
  DataManagerSavepoint,
  SandboxConduct,
  SessionState,
  Vote,
} from '../../coordinator/types.ts';
import { PlainBranch } from '../support/branch.ts';
import { Changes } from './changes.ts';
import { claim, release } from './claims.ts';
import { FileConflictError, type FileResult, FilesNotInPlaceError, inWords } from './errors.ts';
import { makeAll, resultOf } from './finish.ts';

/**
 * Until the commit everything is beside the files: an abort has nothing to restore. The vote claims the files in this process and finds
 * whatever could keep the changes from being made; they are made in `tpcFinish`, before the databases that are prepared commit.
 */
export class FileBranch extends PlainBranch implements DataManager {
  readonly sortKey: string;
  readonly #changes: Changes;
  #claimed: ReadonlySet<string> | undefined = undefined;
  /** How many calls are under way or wait for their turn. */
  #underWay = 0;
  #lastTurn: Promise<void> = Promise.resolve();
  #ended = false;

  constructor(name: string, txn: Transaction, state: SessionState) {
    super(name, txn, state);
    this.sortKey = `files:${name}`;
    this.#changes = new Changes(txn);
  }

  protected get hasWork(): boolean {
    return this.#changes.list.length > 0;
  }

  /** Does work on the files when everything asked for before is done. */
  perform<T>(work: (changes: Changes) => Promise<T>): Promise<T> {
    this.requireOpen();
    this.#underWay++;
    const turn = this.#lastTurn.then(() => {
      // The end may have begun meanwhile.
      this.requireOpen();
      return work(this.#changes);
    });
    const through = (): void => void this.#underWay--;
    this.#lastTurn = turn.then(through, through);
    return turn;
  }

  tpcBegin(): void {
    this.closed = true;
  }

  /** Everything was handed over when it was asked for. @throws ConcurrentUseError where something is still under way. */
  commit(): Awaitable<void> {
    return this.#underWay === 0 ? undefined : this.#refuseUnderWay();
  }

  async #refuseUnderWay(): Promise<void> {
    await this.#lastTurn;
    throw new ConcurrentUseError(
      `every change of a file must be awaited before its transaction commits; one of '${this.name}' was still under way, so nothing is committed`,
      { resource: this.name, xid: this.txn.id, phase: 'commit' },
    );
  }

  async tpcVote(): Promise<Vote> {
    if (!this.hasWork) {
      await this.#changes.discard();
      this.#ended = true;
      return 'read-only';
    }
    const paths = this.#changes.paths;
    const taken = claim(paths, this);
    if (taken !== undefined) {
      throw new FileConflictError(
        `a file must be changed by one transaction at a time; ${taken} is being put in place by another one, so nothing was committed: try it again`,
        { resource: this.name, xid: this.txn.id, phase: 'tpcVote' },
      );
    }
    this.#claimed = paths;
    await this.#changes.check(this.name);
    return 'commit';
  }

  /** Makes the changes, in order. @throws FilesNotInPlaceError where one could not be made. */
  async tpcFinish(): Promise<void> {
    this.#ended = true;
    const { results, unsynced } = await makeAll(this.#changes);
    this.#release();
    this.#changes.leave();
    const failed = results.find(({ outcome }) => outcome !== 'done');
    if (failed === undefined && unsynced === undefined) return;
    const doubt = unsynced === undefined ? '' : `; what was done may not outlive a power failure (${unsynced.message})`;
    throw this.#notInPlace(
      `every file must be put in place once all have voted yes`,
      results,
      doubt,
      failed?.error ?? unsynced,
    );
  }

  #notInPlace(
    requirement: string,
    results: readonly FileResult[],
    doubt: string,
    cause: Error | undefined,
  ): FilesNotInPlaceError {
    return new FilesNotInPlaceError(
      `${requirement}; ${inWords(results)}${doubt}; do by hand what is missing`,
      results,
      { resource: this.name, xid: this.txn.id, phase: 'tpcFinish', ...(cause === undefined ? {} : { cause }) },
    );
  }

  #release(): void {
    if (this.#claimed !== undefined) release(this.#claimed, this);
    this.#claimed = undefined;
  }

  tpcAbort(): Awaitable<void> {
    return this.abort();
  }

  /** Removes what was staged, when what is under way has ended; the files themselves were never touched. */
  abort(): Awaitable<void> {
    this.closed = true;
    if (this.#ended) return undefined;
    this.#ended = true;
    this.#release();
    return this.#lastTurn.then(() => this.#changes.discard());
  }

  /** Whether the transaction committed isn't known: what was staged stays, and the error says where. @throws FilesNotInPlaceError. */
  hold(): void {
    this.#ended = true;
    this.#release();
    this.#changes.leave();
    const results = this.#changes.list.map((change) => resultOf(change, 'not tried'));
    throw this.#notInPlace(
      'files are put in place once it is known that their transaction has committed',
      results,
      '',
      undefined,
    );
  }

  sandboxed(): SandboxConduct {
    return { planned: () => this.#changes.list };
  }

  async savepoint(): Promise<DataManagerSavepoint> {
    const then = await this.perform(async (changes) => changes.soFar);
    return { rollback: () => this.perform((changes) => changes.returnTo(then)) };
  }
}
