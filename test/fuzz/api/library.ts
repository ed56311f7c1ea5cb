// Plays a program on a real coordinator, and writes down what the specification foretells.
import {
  type Awaitable,
  type DataManager,
  type Savepoint,
  type Transaction,
  TransactionCoordinator,
  TransientError,
} from 'unanimous';
import { type Call, type HookKind, type Operation, type Program, STORES, type StoreStep } from './program.ts';
import { Clock } from './clock.ts';

/** A list that joins when it is first written to, and fails where the program says. */
class Store {
  readonly #player: LibraryPlayer;
  readonly #index: number;
  readonly stored: number[] = [];

  constructor(player: LibraryPlayer, index: number) {
    this.#player = player;
    this.#index = index;
  }

  write(txn: Transaction, value: number): void {
    const part = txn.getOrJoin(this, () => this.#join());
    // Refused where the transaction takes no work any more; else nothing, as it has joined.
    txn.join(part);
    part.values.push(value);
  }

  #join(): DataManager & { values: number[] } {
    const { hasSavepoints, hasCancel } = this.#player.program.stores[this.#index]!;
    const part: DataManager & { values: number[] } = {
      values: [],
      sortKey: String(this.#index),
      tpcBegin: () => this.#answer('tpcBegin'),
      commit: () => this.#answer('commit'),
      tpcVote: () => this.#answer('tpcVote'),
      tpcFinish: () => this.#answer('tpcFinish', () => this.stored.push(...part.values)),
      tpcAbort: () => this.#answer('tpcAbort'),
      abort: () => this.#answer('abort'),
    };
    if (hasCancel) part.cancel = () => this.#player.note(`store ${this.#index} cancel`);
    if (!hasSavepoints) return part;
    const rollback = (had: number[]): Awaitable<void> => this.#answer('rollback', () => (part.values = [...had]));
    part.savepoint = () => {
      const had = [...part.values];
      const made = { rollback: () => rollback(had) };
      const answer = this.#answer('savepoint');
      return answer instanceof Promise ? answer.then(() => made) : made;
    };
    return part;
  }

  #answer(step: StoreStep, act: () => unknown = () => undefined): Awaitable<void> {
    const { isAsync, failsIn } = this.#player.program.stores[this.#index]!;
    const run = (): void => {
      this.#player.note(`store ${this.#index} ${step}`);
      if (failsIn === step) throw new Error(`store ${this.#index} says no`);
      act();
    };
    return isAsync ? Promise.resolve().then(run) : run();
  }
}

const ADD = {
  beforeCommit: 'addBeforeCommitHook',
  afterCommit: 'addAfterCommitHook',
  beforeAbort: 'addBeforeAbortHook',
  afterAbort: 'addAfterAbortHook',
} as const satisfies Record<HookKind, keyof Transaction>;

export class LibraryPlayer {
  readonly program: Program;
  readonly trace: string[] = [];
  readonly reports: string[] = [];
  readonly coordinator: TransactionCoordinator;
  readonly #stores: readonly Store[];
  readonly #savepoints: Savepoint[] = [];
  readonly #clock = new Clock();
  operations = 0;

  constructor(program: Program) {
    this.program = program;
    this.coordinator = new TransactionCoordinator({
      onError: (error) => this.reports.push(codeOf(error.cause instanceof Error ? error.cause : error)),
    });
    this.#stores = Array.from({ length: STORES }, (_, index) => new Store(this, index));
  }

  get stored(): number[][] {
    return this.#stores.map((store) => store.stored);
  }

  /** Throws where the context isn't as clean behind it as it was before. */
  async play(): Promise<void> {
    const { coordinator } = this;
    await this.#clock.whileStopped(() =>
      coordinator.context(async () => {
        for (const [index, { throwsIn }] of this.program.synchronizers.entries()) {
          const told = (event: string) => (): void => {
            this.note(`synchronizer ${index} ${event}`);
            if (event === throwsIn) throw new Error(`synchronizer ${index}`);
          };
          coordinator.registerSynch({
            newTransaction: told('newTransaction'),
            beforeCompletion: told('beforeCompletion'),
            afterCompletion: told('afterCompletion'),
          });
        }
        for (const call of this.program.calls) {
          await this.#answer('run', () => this.#run(call));
          if (coordinator.current !== undefined) throw new Error('a transaction is left in the context');
        }
      }),
    );
    if (coordinator.inspect().transactions.length > 0) throw new Error('a transaction is left open');
    await coordinator.close({ timeoutMs: 1000 });
  }

  note(text: string): void {
    this.trace.push(text);
  }

  async #answer(what: string, act: () => unknown): Promise<Error | undefined> {
    this.operations++;
    try {
      await act();
      this.note(`${what}: done`);
      return undefined;
    } catch (error) {
      this.note(`${what}: ${codeOf(error)}`);
      return error as Error;
    }
  }

  #run(call: Call): Promise<void> {
    const { propagation, attempts } = call;
    const deadline = this.#clock.deadline(call.deadline);
    const options = { attempts, backoff: false, ...deadline.options } as const;
    const run = (): Promise<void> => {
      switch (propagation) {
        case 'supports':
        case 'not-supported':
        case 'never':
          return this.coordinator.run((txn) => this.#body(call, txn, deadline.pass), { ...options, propagation });
        case 'required':
        case 'requires-new':
        case 'nested':
        case 'mandatory':
          return this.coordinator.run((txn) => this.#body(call, txn, deadline.pass), { ...options, propagation });
      }
    };
    // Behind its end, a deadline is nobody's business any more.
    return run().finally(deadline.pass);
  }

  async #body(call: Call, txn: Transaction | undefined, pass: () => void): Promise<void> {
    const attempt = this.#attemptOf(call, txn);
    for (const operation of call.operations) await this.#operate(operation);
    if (call.end === 'throw') throw new Error('thrown');
    if (call.end === 'transient' && attempt <= call.failures) throw new TransientError('again');
    if (call.end === 'late') pass();
  }
  /** By which call a transaction was begun. */
  readonly #owned = new WeakMap<Transaction, Call>();

  /** The number of the attempt where the call has begun the transaction itself; who takes part in another one's has but one. */
  #attemptOf(call: Call, txn: Transaction | undefined): number {
    if (txn === undefined) return 1;
    if (!this.#owned.has(txn)) this.#owned.set(txn, call);
    return this.#owned.get(txn) === call ? txn.attempt : 1;
  }

  async #operate(operation: Operation): Promise<void> {
    const { coordinator } = this;
    switch (operation.kind) {
      case 'write':
        await this.#answer('write', () => this.#stores[operation.store]!.write(coordinator.enlist(), operation.value));
        return;
      case 'savepoint': {
        await this.#answer('savepoint', async () =>
          this.#savepoints.push(await coordinator.savepoint(operation.optimistic)),
        );
        return;
      }
      case 'rollback': {
        const savepoint = this.#savepoints.at(-1 - operation.back);
        if (savepoint !== undefined) await this.#answer('rollback', () => savepoint.rollback());
        return;
      }
      case 'hook':
        await this.#answer('hook', () => this.#addHook(coordinator.get(), operation));
        return;
      case 'doom':
        await this.#answer('doom', () => coordinator.doom());
        return;
      case 'note':
        await this.#answer('note', () => coordinator.get().note(operation.text));
        this.note(`description: ${coordinator.current?.description.split('\n').join() ?? ''}`);
        return;
      case 'commit':
        await this.#answer('commit', () => coordinator.commit());
        return;
      case 'abort':
        await this.#answer('abort', () => coordinator.abort());
        return;
      case 'call': {
        const failure = await this.#answer('call', () => this.#run(operation.call));
        if (failure !== undefined && !operation.isCaught) throw failure;
        return;
      }
      case 'together':
        await this.#together(operation.calls);
    }
  }

  async #together(calls: readonly Call[]): Promise<void> {
    // Without a transaction that they take turns in, each has its own, and nobody can say which comes first.
    const takeTurns = this.coordinator.current !== undefined;
    const settled: PromiseSettledResult<void>[] = takeTurns
      ? await Promise.allSettled(calls.map((call) => this.#run(call)))
      : [];
    if (!takeTurns) for (const call of calls) settled.push(...(await Promise.allSettled([this.#run(call)])));
    this.note(
      `siblings: ${settled.map((each) => (each.status === 'fulfilled' ? 'done' : codeOf(each.reason))).join()}`,
    );
  }

  #addHook(txn: Transaction, { hook, does, id }: Operation & { readonly kind: 'hook' }): void {
    txn[ADD[hook]]((...told: unknown[]): void => {
      const outcome = hook === 'afterCommit' ? ` ${String(told[0])}` : '';
      const place = this.coordinator.current === undefined ? 'outside' : 'inside';
      this.note(`${hook} ${id}${outcome} ${place}`);
      if (does === 'throw') throw new Error(`hook ${id}`);
      if (does === 'add') this.#addHook(txn, { kind: 'hook', hook, does: 'nothing', id: id + 1000 });
      if (does === 'join' && hook === 'beforeCommit') this.#stores[STORES - 1]!.write(txn, id);
    });
  }
}

function codeOf(error: unknown): string {
  const { code, message } = error as { code?: string; message: string };
  return code ?? message;
}
