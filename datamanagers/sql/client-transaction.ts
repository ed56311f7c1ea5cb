/** A transaction of a client's own inside of the one of its surroundings: a savepoint, behind which the client has the connection. */
import { ConfigurationError, suppress, toError } from '../../coordinator/errors.ts';
import type { Mark, SqlBranch } from './branch.ts';
import type { Modes } from './control.ts';
import type { Turn } from './turns.ts';

export class ClientTransaction {
  readonly branch: SqlBranch;
  /** By which its statements are known. */
  readonly turn: Turn;
  readonly #mark: Mark;

  private constructor(branch: SqlBranch, turn: Turn, mark: Mark) {
    this.branch = branch;
    this.turn = turn;
    this.#mark = mark;
  }

  /**
   * Begins when those are through that came before.
   *
   * @throws ConfigurationError where it asks for what the outer one doesn't have. ConcurrentUseError when it waits too long.
   */
  static async begin(branch: SqlBranch, modes: Modes): Promise<ClientTransaction> {
    refuseOtherModes(branch, modes);
    const refusal = branch.refusal;
    if (refusal !== undefined) throw refusal;
    const { turns } = branch;
    if (turns.current !== undefined) return turns.wait(undefined, () => ClientTransaction.begin(branch, modes));
    const turn = turns.open('transaction');
    try {
      return new ClientTransaction(branch, turn, await branch.mark(turn));
    } catch (error) {
      turns.close(turn);
      throw error;
    }
  }

  /**
   * Keeps what was done in it for the outer transaction to commit; where that can't be, undoes it.
   * @throws SilentRollbackError when a statement in it has failed, or what the server says.
   */
  async commit(): Promise<void> {
    try {
      await this.#mark.keep();
    } catch (error) {
      await this.rollback().catch((failure: unknown) => suppress(toError(error), failure));
      throw error;
    }
    this.branch.turns.close(this.turn);
  }

  /** Why nothing can be done in it any more; undefined while it can. */
  get over(): Error | undefined {
    return this.turn.lost ?? this.branch.refusal;
  }

  /**
   * Undoes what was done in it. Does nothing where it was undone from outside or the outer one is ending: then its turn stays, by
   * which a commit fails.
   */
  async rollback(): Promise<void> {
    if (this.over !== undefined) return;
    const { branch, turn } = this;
    try {
      await this.#mark.undo();
    } catch (error) {
      if (this.over !== undefined) throw error;
      // What should be undone, or was undone with all else, must not be committed.
      branch.txn.doom(toError(error));
      const isUndone = branch.connection?.isUndone === true;
      // On a connection that is gone everything else fails by itself; else the turn stays, and what is in the way keeps it.
      if (isUndone || branch.connection?.broken !== undefined) branch.turns.close(turn);
      if (isUndone) return;
      throw error;
    }
    branch.turns.close(turn);
  }
}

/** @throws ConfigurationError where a client's transaction is to run in another way than the one that it is in. */
export function refuseOtherModes(branch: SqlBranch, modes: Modes): void {
  if (branch.ignoresModes) return;
  const { options } = branch.txn;
  const had = {
    isolation: options.isolation,
    readOnly: branch.state === 'readonly',
    deferrable: options.deferrable ?? false,
    other: undefined,
  };
  for (const mode of ['isolation', 'readOnly', 'deferrable', 'other'] as const) {
    const wanted = modes[mode];
    if (wanted === undefined || wanted === had[mode]) continue;
    throw new ConfigurationError(
      `a transaction that a client begins inside of another one must agree with how that began; ${wantedText(mode, wanted)} was asked for, ` +
        `that of '${branch.session.name}' has ${hadText(mode, had[mode])}: begin the outer one with it, or run the client's in its own, with the propagation 'requires-new'`,
      { resource: branch.session.name, xid: branch.txn.id, phase: 'work' },
    );
  }
}

function wantedText(mode: keyof Modes, wanted: string | boolean): string {
  return mode === 'other' ? `'${wanted}'` : `'${String(wanted)}' as ${mode}`;
}

function hadText(mode: keyof Modes, had: string | boolean | undefined): string {
  if (mode === 'other') return 'nothing like it';
  return had === undefined ? "the database's default" : `'${String(had)}'`;
}
