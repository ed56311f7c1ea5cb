// Plays a script through the library, as a service would.
import type { Savepoint, TransactionCoordinator } from 'unanimous';
import type { Asks, HeldClient, Sides } from './dialect.ts';
import { type Entry, type Reply, Thrown, codeOf, ownFailure, replyOf } from './log.ts';
import { type OwnStep, type PlainItem, REFUSED, type SimpleStep, type Step, type TransactionItem } from './script.ts';
import { type Statements, plain, textOf } from './statements.ts';

/** More than there can be statements whose names have to be given up, one at an attempt. */
const ATTEMPTS = 10;

/** A client whose own transaction is open. */
interface Held {
  readonly client: HeldClient;
  readonly database: number;
}

function endsReleased(steps: readonly Step[]): boolean {
  const last = steps.at(-1);
  return last?.kind === 'nested' ? endsReleased(last.steps) : last?.kind === 'own' && last.end === 'release';
}

export class ThroughLibraryPlayer {
  readonly #coordinator: TransactionCoordinator;
  readonly #sides: readonly Sides[];
  readonly #statements: Statements;
  #log: Entry[] = [];
  /** Those that the script has made by savepoint steps. */
  #savepoints: Savepoint[] = [];
  /** How many transactions were tried again. */
  retries = 0;

  constructor(coordinator: TransactionCoordinator, sides: readonly Sides[], statements: Statements) {
    this.#coordinator = coordinator;
    this.#sides = sides;
    this.#statements = statements;
  }

  async transaction(item: TransactionItem): Promise<Entry[]> {
    this.#log = [];
    this.#savepoints = [];
    const restore = await Promise.all(this.#sides.map((side) => side.remember()));
    const attempt = async (number: number): Promise<void> => {
      if (number > 1) {
        this.#log = [];
        this.#savepoints = [];
        this.retries++;
        for (const each of restore) await each();
      }
      await this.#steps(item.steps, '');
      if (item.end === 'throw') throw new Thrown('thrown by the script');
      if (item.end === 'unawaited') await this.#leaveUnderWay(item.steps);
    };
    const { isolation, readOnly } = item;
    const options = { attempts: ATTEMPTS, backoff: false, isolation, readOnly } as const;
    const reply = await replyOf(
      () => this.#coordinator.run((txn) => attempt(txn.attempt), options),
      () => 'committed',
      this.#errorOf,
    );
    this.#note('end', item.end, reply);
    return this.#log;
  }

  /** Nobody awaits it, and the function returns. */
  async #leaveUnderWay(steps: readonly Step[]): Promise<void> {
    const { library, dialect } = this.#sides[0]!;
    const session = library.via('session');
    // While what a client has left open is rolled back, it isn't under way but waits for its turn, and is refused.
    if (endsReleased(steps)) await session.ask(plain('select 1'));
    void session.ask(plain(dialect.harmless));
  }

  async plain(item: PlainItem): Promise<Entry[]> {
    this.#log = [];
    for (const [index, { use, via }] of item.steps.entries()) {
      await this.#simple({ kind: 'statement', use, via }, `plain ${index}`, undefined);
    }
    return this.#log;
  }

  #note(where: string, what: string, reply: Reply): void {
    this.#log.push({ where, what, reply });
  }

  async #steps(steps: readonly Step[], prefix: string): Promise<void> {
    for (const [index, step] of steps.entries()) {
      const where = `${prefix}${index}`;
      switch (step.kind) {
        case 'savepoint':
          await this.#savepoint(where);
          break;
        case 'rollback':
          await this.#rollback(this.#savepoints.at(-1 - step.back), where);
          break;
        case 'nested':
          await this.#nested(step, where);
          break;
        case 'own':
          await this.#own(step, where);
          break;
        case 'refused':
          this.#note(where, REFUSED[step.text]!, await this.#refused(step));
          break;
        case 'statement':
        case 'together':
        case 'cursor':
          await this.#simple(step, where, undefined);
          break;
      }
    }
  }

  async #savepoint(where: string): Promise<void> {
    const make = async (): Promise<unknown> => this.#savepoints.push(await this.#coordinator.savepoint());
    this.#note(where, 'savepoint', await replyOf(make, () => 'made'));
  }

  async #rollback(savepoint: Savepoint | undefined, where: string): Promise<void> {
    if (savepoint === undefined) return;
    this.#note(
      where,
      'rollback to a savepoint',
      await replyOf(
        () => savepoint.rollback(),
        () => 'rolled back',
      ),
    );
  }

  async #nested({ steps, end }: Step & { readonly kind: 'nested' }, where: string): Promise<void> {
    const inside = async (): Promise<void> => {
      await this.#steps(steps, `${where}.`);
      if (end === 'throw') throw new Thrown('thrown in a nested run');
    };
    const run = (): Promise<void> => this.#coordinator.run(inside, { propagation: 'nested' });
    this.#note(where, `nested run, ${end}`, await replyOf(run, () => 'returned', this.#errorOf));
  }

  /** What is the library's own affair goes all the way up, as it would where nobody catches it. */
  readonly #errorOf = (error: Error): unknown => {
    if (this.#sides.some(({ dialect }) => dialect.isLibrarys(error))) throw error;
    const side = this.#sides.find(({ dialect }) => dialect.name === (error as { resource?: string }).resource);
    return side === undefined ? codeOf(error) : ownFailure(error, (cause) => side.dialect.failed(cause));
  };

  async #own(step: Step & { readonly kind: 'own' }, where: string): Promise<void> {
    const database = step.database % this.#sides.length;
    let taken: HeldClient | undefined;
    const take = async (): Promise<void> => void (taken = await this.#sides[database]!.library.take());
    const reply = await replyOf(take, () => 'taken');
    if (taken === undefined) return this.#note(where, 'BEGIN', reply);
    try {
      const begun = await taken.ask(plain('BEGIN'));
      this.#note(where, 'BEGIN', begun);
      if ('error' in begun) return undefined;
      await this.#ownSteps(step.steps, { client: taken, database }, `${where}.`);
      if (step.end !== 'release') this.#note(where, step.end, await taken.ask(plain(step.end.toUpperCase())));
      return undefined;
    } finally {
      taken.release();
    }
  }

  async #ownSteps(steps: readonly OwnStep[], held: Held, prefix: string): Promise<void> {
    for (const [index, step] of steps.entries()) {
      const where = `${prefix}${index}`;
      if ('name' in step) {
        const text = textOf(step);
        this.#note(where, text, await held.client.ask(plain(text)));
      } else await this.#simple(step, where, held);
    }
  }

  #refused({ text, via, database }: Step & { readonly kind: 'refused' }): Promise<Reply> {
    return this.#sides[database % this.#sides.length]!.library.via(via).ask(plain(REFUSED[text]!));
  }

  async #simple(step: SimpleStep, where: string, held: Held | undefined): Promise<void> {
    const uses = step.kind === 'together' ? step.uses : [step.use];
    const asked = uses.map(async (use, index): Promise<Entry> => {
      const database = held?.database ?? use.database % this.#sides.length;
      const request = this.#statements.request(use, database);
      const work = (asks: Asks): Promise<Reply> =>
        step.kind === 'cursor' ? asks.readInBatches(request, step.size, step.reads) : asks.ask(request);
      const reply = await (held === undefined ? this.#through(database, step.via, work) : work(held.client));
      return { where: `${where}[${index}]`, what: this.#statements.describe(request), reply };
    });
    this.#log.push(...(await Promise.all(asked)));
  }

  /** Asks where the step says, taking a client for it. */
  async #through(database: number, via: SimpleStep['via'], work: (asks: Asks) => Promise<Reply>): Promise<Reply> {
    const { library } = this.#sides[database]!;
    if (via !== 'client') return work(library.via(via));
    let client: HeldClient;
    try {
      client = await library.take();
    } catch (error) {
      return { error: codeOf(error as Error) };
    }
    try {
      return await work(client);
    } finally {
      client.release();
    }
  }
}
