// What a program must do, as the README and docs/zope.md say it: a transaction in one page, without contexts, promises or status tables.
// It yields the trace of every call that data managers, hooks and synchronizers get, and what each operation is answered.
import { type Call, type HookKind, HOOKS, type Operation, type Program, STORES, type StoreStep } from './program.ts';

/** An error, by its code; one of the program's own has the text as its code. */
export class Failure extends Error {
  readonly code: string;
  readonly isTransient: boolean;

  constructor(code: string, cause?: Failure, isTransient = false) {
    super(code, { cause });
    this.code = code;
    // An error is as transient as its causes are.
    this.isTransient = isTransient || cause?.isTransient === true;
  }
}

interface Part {
  readonly store: number;
  values: number[];
}
interface Hook {
  readonly does: string;
  readonly id: number;
}
interface Savepoint {
  isValid: boolean;
  readonly optimistic: boolean;
  /** What each store had then; those that joined later have nothing. */
  readonly parts: { readonly part: Part; readonly had: number[] | undefined }[];
  readonly hooks: Record<HookKind, number>;
}
/** A nested run that is open. */
interface Frame {
  failure: Failure | undefined;
}

type Status = 'active' | 'doomed' | 'commit failed' | 'ended';

class SpecifiedTransaction {
  status: Status = 'active';
  failure: Failure | undefined;
  parts: Part[] = [];
  readonly hooks: Record<HookKind, Hook[]> = { beforeCommit: [], afterCommit: [], beforeAbort: [], afterAbort: [] };
  savepoints: Savepoint[] = [];
  frames: Frame[] = [];
  notes: string[] = [];
  readonly #world: Specification;
  /** Whether the synchronizers of the context know of it. */
  readonly #isTold: boolean;

  constructor(world: Specification, isTold: boolean) {
    this.#world = world;
    this.#isTold = isTold;
    this.#tell('newTransaction');
  }

  /** What is done with one that has ended or failed is refused (README, zope 54, 57). */
  requireOpen(): void {
    if (this.status === 'ended') throw new Failure('ERR_TXN_CLOSED');
    if (this.status === 'commit failed') throw this.#failed();
  }

  #failed(): Failure {
    return new Failure('ERR_TXN_FAILED', this.failure);
  }

  write(store: number, value: number): void {
    this.requireOpen();
    let part = this.parts.find((each) => each.store === store);
    if (part === undefined) {
      part = { store, values: [] };
      this.parts.push(part);
      for (const savepoint of this.savepoints) savepoint.parts.push({ part, had: undefined });
    }
    part.values.push(value);
  }

  addHook(kind: HookKind, hook: Hook): void {
    if (this.status === 'ended') throw new Failure('ERR_TXN_CLOSED');
    this.hooks[kind].push(hook);
  }

  /** Ignored once it is decided (README, "Timeouts and signals"); else the error, and nobody's work is waited for. */
  pass(code: string): Failure | undefined {
    if (this.status === 'ended' || this.status === 'commit failed') return undefined;
    const failure = new Failure(code);
    this.doom(failure);
    for (const { store } of this.parts)
      if (this.#world.program.stores[store]!.hasCancel) this.#world.note(`store ${store} cancel`);
    return failure;
  }

  doom(reason?: Failure): void {
    if (this.status === 'ended') throw new Failure('ERR_TXN_CLOSED');
    if (this.status === 'commit failed') throw new Failure('ERR_TXN_STATE');
    this.status = 'doomed';
    this.#reason ??= reason;
  }
  #reason: Failure | undefined;

  /** Zope 114 to 117: every joined data manager is asked; where one can't, all is undone and the transaction has failed. */
  savepoint(optimistic: boolean): Savepoint {
    this.requireOpen();
    const hooks = Object.fromEntries(HOOKS.map((kind) => [kind, this.hooks[kind].length])) as Savepoint['hooks'];
    const savepoint: Savepoint = { isValid: true, optimistic, parts: [], hooks };
    this.savepoints.push(savepoint);
    for (const part of this.parts) {
      try {
        if (this.#world.kind(part).hasSavepoints) this.#call(part, 'savepoint');
        else if (!optimistic) throw new Failure('ERR_TXN_SAVEPOINTS_UNSUPPORTED');
      } catch (error) {
        this.#fail(error as Failure);
        this.#undo(this.parts, this.parts);
        throw error;
      }
      savepoint.parts.push({ part, had: [...part.values] });
    }
    return savepoint;
  }

  /** Zope 118 to 124: what joined later is aborted and leaves, later savepoints are invalid, later hooks are dropped. */
  rollback(savepoint: Savepoint): void {
    if (this.status === 'commit failed') throw this.#failed();
    if (!savepoint.isValid || this.status === 'ended') throw new Failure('ERR_TXN_INVALID_SAVEPOINT_ROLLBACK');
    const later = this.savepoints.splice(this.savepoints.indexOf(savepoint) + 1);
    for (const each of later) each.isValid = false;
    try {
      for (const each of savepoint.parts.slice()) this.#rollBackPart(savepoint, each);
    } catch (error) {
      savepoint.isValid = false;
      this.#fail(error as Failure);
      throw error;
    }
    for (const kind of HOOKS) this.hooks[kind].length = Math.min(this.hooks[kind].length, savepoint.hooks[kind]);
  }

  #rollBackPart(savepoint: Savepoint, { part, had }: Savepoint['parts'][number]): void {
    if (had === undefined) {
      // Aborted once, however often the rollback is repeated (departure from zope 126).
      savepoint.parts.splice(
        savepoint.parts.findIndex((each) => each.part === part),
        1,
      );
      if (!this.parts.includes(part)) return;
      this.parts = this.parts.filter((each) => each !== part);
      this.#call(part, 'abort');
    } else if (!this.#world.kind(part).hasSavepoints) throw new Failure('ERR_TXN_SAVEPOINTS_UNSUPPORTED');
    else {
      this.#call(part, 'rollback');
      part.values = [...had];
    }
  }

  /** The table "A commit calls, in this order" of the README. */
  commit(): void {
    if (this.status === 'ended') throw new Failure('ERR_TXN_CLOSED');
    if (this.status === 'commit failed') throw this.#failed();
    if (this.status === 'doomed')
      throw this.#reason?.code === 'ERR_TXN_TIMEOUT' ? this.#reason : new Failure('ERR_TXN_DOOMED', this.#reason);
    let failure: Failure | undefined;
    let voted: Part[] | undefined;
    try {
      this.#runHooks('beforeCommit', true);
      this.#tell('beforeCompletion');
      this.#runHooks('beforeCommit', true);
      const order = this.#sorted();
      voted = [];
      for (const part of order) this.#call(part, 'tpcBegin');
      for (const part of order) this.#call(part, 'commit');
      for (const part of order) {
        this.#call(part, 'tpcVote');
        voted.push(part);
      }
    } catch (error) {
      failure = error as Failure;
      this.hooks.beforeCommit.length = 0;
      if (voted === undefined) this.#undo(this.parts, []);
      else
        this.#undo(
          this.#sorted().filter((part) => voted?.includes(part) === false),
          this.#sorted(),
        );
    }
    const committed = failure === undefined;
    if (failure === undefined) failure = this.#finish();
    else this.#fail(failure);
    try {
      this.#tell('afterCompletion');
    } catch (error) {
      // Hangs on the error that led to the abort; one in doubt was decided, and what fails behind that is reported, as with hooks.
      if (committed) this.#world.report(error as Failure);
    }
    this.#runHooks('afterCommit', committed);
    if (failure !== undefined) throw failure;
  }

  /** All are finished, whatever one of them throws (departure from zope 72, 73). */
  #finish(): Failure | undefined {
    let hasFailed = false;
    for (const part of this.#sorted()) {
      try {
        this.#call(part, 'tpcFinish');
        this.#world.stored[part.store]!.push(...part.values);
      } catch {
        hasFailed = true;
      }
    }
    this.#end();
    return hasFailed ? new Failure('ERR_TXN_IN_DOUBT') : undefined;
  }

  /** Zope 82 to 88: nothing stops the rest; the first error of a synchronizer or data manager is thrown. */
  abort(): void {
    if (this.status === 'ended') return;
    this.hooks.beforeCommit.length = 0;
    this.hooks.afterCommit.length = 0;
    this.#runHooks('beforeAbort', true);
    const errors: Failure[] = [];
    try {
      this.#tell('beforeCompletion');
    } catch (error) {
      errors.push(error as Failure);
    }
    for (const part of this.parts.slice()) {
      try {
        this.#call(part, 'abort');
      } catch (error) {
        errors.push(error as Failure);
      }
    }
    this.#end();
    try {
      this.#tell('afterCompletion');
    } catch (error) {
      errors.push(error as Failure);
    }
    this.#runHooks('afterAbort', true);
    if (errors.length > 0) throw errors[0]!;
  }

  #end(): void {
    this.status = 'ended';
    for (const savepoint of this.savepoints) savepoint.isValid = false;
  }

  #fail(failure: Failure): void {
    this.failure ??= failure;
    this.status = 'commit failed';
  }

  /** Ascending sort keys, which are the stores' names (zope 64). */
  #sorted(): Part[] {
    return this.parts.toSorted((one, other) => one.store - other.store);
  }

  /** Zope 69 to 74: `abort` of those that have not voted, then `tpcAbort` of all; errors of it don't stop it. */
  #undo(unvoted: readonly Part[], all: readonly Part[]): void {
    const quietly = (part: Part, step: StoreStep): void => {
      try {
        this.#call(part, step);
      } catch {
        // Hangs on the error that led to it.
      }
    };
    for (const part of unvoted) quietly(part, 'abort');
    for (const part of all) quietly(part, 'tpcAbort');
  }

  #call(part: Part, step: StoreStep): void {
    this.#world.note(`store ${part.store} ${step}`);
    if (this.#world.kind(part).failsIn === step) throw new Failure(`store ${part.store} says no`);
  }

  /** Those that a hook adds run in the same pass (zope 90); an error stops before-commit hooks only (zope 94, 96, 99). */
  #runHooks(kind: HookKind, committed: boolean): void {
    // One that has failed stays current until it is aborted (zope 56).
    const isAfter = kind === 'afterAbort' || (kind === 'afterCommit' && committed);
    for (let hook = this.hooks[kind].shift(); hook !== undefined; hook = this.hooks[kind].shift()) {
      const told = kind === 'afterCommit' ? ` ${committed}` : '';
      this.#world.note(`${kind} ${hook.id}${told} ${isAfter ? 'outside' : 'inside'}`);
      try {
        if (hook.does === 'throw') throw new Failure(`hook ${hook.id}`);
        if (hook.does === 'add') this.hooks[kind].push({ does: 'nothing', id: hook.id + 1000 });
        if (hook.does === 'join' && kind === 'beforeCommit') this.write(STORES - 1, hook.id);
      } catch (error) {
        if (kind === 'beforeCommit') throw error;
        this.#world.report(error as Failure);
      }
    }
  }

  /** In order of registration; the first error is the last call, as in zope. */
  #tell(event: 'newTransaction' | 'beforeCompletion' | 'afterCompletion'): void {
    if (!this.#isTold) return;
    for (const [index, { throwsIn }] of this.#world.program.synchronizers.entries()) {
      this.#world.note(`synchronizer ${index} ${event}`);
      if (throwsIn === event) throw new Failure(`synchronizer ${index}`);
    }
  }
}

/** A signal that was aborted before: nothing is begun, and the transaction that it would take part in goes on. */
function refuseAborted({ deadline }: Call): void {
  if (deadline === 'aborted') throw new Failure('ERR_TXN_DOOMED');
}

function codeIn(act: () => void): string {
  try {
    act();
    return 'done';
  } catch (error) {
    if (error instanceof Failure) return error.code;
    throw error;
  }
}

/** Where code runs: in a transaction or without, and whether the synchronizers are known there. */
interface Place {
  readonly txn: SpecifiedTransaction | undefined;
  readonly isTold: boolean;
}

export class Specification {
  readonly program: Program;
  readonly trace: string[] = [];
  readonly reports: string[] = [];
  readonly stored: number[][] = Array.from({ length: STORES }, () => []);
  /** To every savepoint that was made. */
  readonly #rollbacks: (() => void)[] = [];

  constructor(program: Program) {
    this.program = program;
    for (const call of program.calls) this.#answer('run', () => this.#run(call, { txn: undefined, isTold: true }));
  }

  note(text: string): void {
    this.trace.push(text);
  }

  report(failure: Failure): void {
    this.reports.push(failure.code);
  }

  kind(part: Part): Program['stores'][number] {
    return this.program.stores[part.store]!;
  }

  /** Notes what an operation is answered, and goes on. */
  #answer(what: string, act: () => void): Failure | undefined {
    try {
      act();
      this.note(`${what}: done`);
      return undefined;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.note(`${what}: ${error.code}`);
      return error;
    }
  }

  /** The table "A run inside of a run" of the README. */
  #run(call: Call, place: Place): void {
    // One that has ended isn't active any more.
    const txn = place.txn?.status === 'ended' ? undefined : place.txn;
    const without = (): void => this.#body(call, place, 1);
    switch (call.propagation) {
      case 'required':
        return txn === undefined ? this.#own(call, place) : this.#joined(call, place, txn);
      case 'requires-new':
        return this.#own(call, place);
      case 'nested':
        return txn === undefined ? this.#own(call, place) : this.#nested(call, place, txn);
      case 'mandatory':
        if (txn === undefined) throw new Failure(place.txn === undefined ? 'ERR_TXN_NO_TRANSACTION' : 'ERR_TXN_CLOSED');
        return this.#joined(call, place, txn);
      case 'supports':
        return txn === undefined ? without() : this.#joined(call, place, txn);
      case 'not-supported':
        return this.#body(call, { txn: undefined, isTold: false }, 1);
      case 'never':
        if (txn !== undefined) throw new Failure('ERR_TXN_ALREADY_IN_TRANSACTION');
        return without();
    }
  }

  /** Tries again as long as the error is transient; always ends what it has begun. */
  #own(call: Call, { isTold }: Place): void {
    refuseAborted(call);
    for (let attempt = 1; ; attempt++) {
      const txn = new SpecifiedTransaction(this, isTold);
      try {
        this.#body(call, { txn, isTold }, attempt);
        if (txn.status !== 'ended') txn.commit();
        return;
      } catch (error) {
        const retries = (error as Failure).isTransient && attempt < call.attempts && txn.status !== 'ended';
        try {
          txn.abort();
        } catch {
          // Hangs on the error that led to it.
        }
        if (!retries) throw error;
      }
    }
  }

  /** An error that leaves a function which took part dooms the transaction, or fails the nested run that it is in. */
  #joined(call: Call, place: Place, txn: SpecifiedTransaction): void {
    refuseAborted(call);
    try {
      this.#body(call, place, 1);
    } catch (error) {
      const frame = txn.frames.at(-1);
      if (frame !== undefined) frame.failure ??= error as Failure;
      else if (txn.status === 'active') txn.doom(error as Failure);
      throw error;
    }
  }

  /** Behind a savepoint, which an error rolls back. */
  #nested(call: Call, place: Place, txn: SpecifiedTransaction): void {
    refuseAborted(call);
    const savepoint = txn.savepoint(false);
    const frame: Frame = { failure: undefined };
    txn.frames.push(frame);
    try {
      this.#body(call, place, 1);
      if (frame.failure !== undefined) throw new Failure('ERR_TXN_DOOMED', frame.failure);
    } catch (error) {
      try {
        txn.rollback(savepoint);
      } catch {
        // Hangs on the error that led to it.
      }
      throw error;
    } finally {
      txn.frames.pop();
    }
  }

  #body(call: Call, place: Place, attempt: number): void {
    for (const operation of call.operations) this.#operate(operation, place);
    if (call.end === 'throw') throw new Failure('thrown');
    if (call.end === 'transient' && attempt <= call.failures) throw new Failure('ERR_TXN_TRANSIENT', undefined, true);
    if (call.end === 'late' && call.deadline !== undefined) {
      const failure = place.txn?.pass(call.deadline === 'time' ? 'ERR_TXN_TIMEOUT' : 'ERR_TXN_DOOMED');
      if (failure !== undefined) throw failure;
    }
  }

  #operate(operation: Operation, place: Place): void {
    const txn = (): SpecifiedTransaction => {
      if (place.txn === undefined) throw new Failure('ERR_TXN_NO_TRANSACTION');
      if (place.txn.status === 'ended') throw new Failure('ERR_TXN_CLOSED');
      return place.txn;
    };
    switch (operation.kind) {
      case 'write':
        return void this.#answer('write', () => txn().write(operation.store, operation.value));
      case 'savepoint': {
        return void this.#answer('savepoint', () => {
          const at = txn();
          const savepoint = at.savepoint(operation.optimistic);
          this.#rollbacks.push(() => at.rollback(savepoint));
        });
      }
      case 'rollback': {
        const rollback = this.#rollbacks.at(-1 - operation.back);
        return rollback === undefined ? undefined : void this.#answer('rollback', rollback);
      }
      case 'hook':
        return void this.#answer('hook', () => txn().addHook(operation.hook, operation));
      case 'doom':
        return void this.#answer('doom', () => txn().doom());
      case 'note':
        this.#answer('note', () => txn().notes.push(operation.text.trim()));
        return this.note(`description: ${place.txn?.status === 'ended' ? '' : (place.txn?.notes.join() ?? '')}`);
      case 'commit':
        return void this.#answer('commit', () => txn().commit());
      case 'abort':
        return void this.#answer('abort', () => txn().abort());
      case 'call': {
        const failure = this.#answer('call', () => this.#run(operation.call, place));
        if (failure !== undefined && !operation.isCaught) throw failure;
        return undefined;
      }
      case 'together':
        // They take turns, in the order in which they were started.
        return this.note(`siblings: ${operation.calls.map((call) => codeIn(() => this.#run(call, place))).join()}`);
    }
  }
}
