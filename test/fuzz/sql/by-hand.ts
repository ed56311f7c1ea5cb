// Plays the same script by hand: explicit BEGIN, SAVEPOINT and COMMIT over one plain connection for each database. What it writes down is
// what the documentation says of the library; it knows nothing of how that does it.
import type { Asks, Sides } from './dialect.ts';
import { type Entry, type Reply, SILENT_ROLLBACK, codeIn, refusedFor, silentRollback } from './log.ts';
import { type OwnStep, type PlainItem, REFUSED, type SimpleStep, type Step, type TransactionItem } from './script.ts';
import { type Statements, plain, textOf } from './statements.ts';

const CONCURRENT_USE = 'ERR_TXN_CONCURRENT_USE';

interface Mark {
  readonly name: string;
  valid: boolean;
}

export class ByHandPlayer {
  readonly #sides: readonly Sides[];
  readonly #statements: Statements;
  #log: Entry[] = [];
  /** Those to which it can return. */
  #marks: Mark[] = [];
  /** Those that the script has made by savepoint steps. */
  #made: Mark[] = [];
  #names = 0;
  /** A savepoint could not be made: what is left is an abort. */
  #dead = false;

  constructor(sides: readonly Sides[], statements: Statements) {
    this.#sides = sides;
    this.#statements = statements;
  }

  async transaction(item: TransactionItem): Promise<Entry[]> {
    this.#log = [];
    this.#marks = [];
    this.#made = [];
    this.#dead = false;
    for (const { hand } of this.#sides) await hand.begin(item);
    await this.#steps(item.steps, '');
    this.#note('end', item.end, await this.#end(item));
    return this.#log;
  }

  async #end({ end, readOnly }: TransactionItem): Promise<Reply> {
    if (end === 'throw') return this.#rolledBack({ error: 'thrown by the script' });
    if (this.#dead) return this.#rolledBack({ error: 'ERR_TXN_FAILED' });
    const failures = this.#sides.flatMap(({ hand }) => hand.failure ?? []);
    if (end === 'unawaited') {
      const isAlone = this.#sides.length === 1 || failures.length === 0;
      return this.#rolledBack(isAlone ? { error: CONCURRENT_USE } : refusedFor(CONCURRENT_USE, SILENT_ROLLBACK));
    }
    if (!readOnly && failures.length > 0) {
      return this.#rolledBack(failures.length === 1 ? silentRollback(failures[0]!) : refusedFor(SILENT_ROLLBACK));
    }
    // Both or neither: nothing may fail any more once the first of several commits.
    if (this.#sides.length > 1) {
      for (const { hand } of this.#sides) {
        const refusal = hand.failure !== undefined ? undefined : await hand.checkDeferred();
        if (refusal !== undefined) return this.#rolledBack({ error: codeIn(refusal) });
      }
    }
    for (const { hand } of this.#sides) {
      const refusal = await hand.commit();
      if (refusal !== undefined) return { error: codeIn(refusal) };
    }
    return { result: 'committed' };
  }

  async #rolledBack(reply: Reply): Promise<Reply> {
    for (const { hand } of this.#sides) await hand.rollback();
    return reply;
  }

  async plain(item: PlainItem): Promise<Entry[]> {
    this.#log = [];
    for (const [index, { use, via }] of item.steps.entries()) {
      const database = use.database % this.#sides.length;
      const request = this.#statements.request(use, database);
      const reply =
        via === 'session' ? { error: 'ERR_TXN_NO_TRANSACTION' } : await this.#sides[database]!.hand.ask(request);
      this.#note(`plain ${index}[0]`, this.#statements.describe(request), reply);
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
        case 'savepoint': {
          const made = await this.#mark();
          if ('name' in made) this.#made.push(made);
          this.#note(where, 'savepoint', 'name' in made ? { result: 'made' } : made);
          break;
        }
        case 'rollback': {
          const mark = this.#made.at(-1 - step.back);
          if (mark !== undefined) this.#note(where, 'rollback to a savepoint', await this.#returnTo(mark));
          break;
        }
        case 'nested':
          await this.#nested(step, where);
          break;
        case 'own':
          await this.#own(step, where);
          break;
        case 'refused':
          this.#note(where, REFUSED[step.text]!, this.#refused());
          break;
        case 'statement':
        case 'together':
        case 'cursor':
          await this.#simple(step, where, undefined);
          break;
      }
    }
  }

  /** Of a failed transaction, a session that had not joined says that it has failed. */
  #refused(): Reply {
    const isAlone = this.#sides.length === 1 || !this.#dead;
    return isAlone ? { error: 'ERR_TXN_STATE' } : refusedFor('ERR_TXN_STATE', 'ERR_TXN_FAILED');
  }

  /** A savepoint of everything; where one database can't, the transaction has failed. */
  async #mark(): Promise<Mark | Reply> {
    if (this.#dead) return { error: 'ERR_TXN_FAILED' };
    const mark = { name: `by_hand_${++this.#names}`, valid: true };
    for (const { hand } of this.#sides) {
      const refusal = await hand.savepoint(mark.name);
      if (refusal === undefined) continue;
      this.#dead = true;
      return { error: codeIn(refusal) };
    }
    this.#marks.push(mark);
    return mark;
  }

  async #returnTo(mark: Mark): Promise<Reply> {
    if (this.#dead) return { error: 'ERR_TXN_FAILED' };
    if (!mark.valid) return { error: 'ERR_TXN_INVALID_SAVEPOINT_ROLLBACK' };
    for (const later of this.#marks.splice(this.#marks.indexOf(mark) + 1)) later.valid = false;
    for (const { hand } of this.#sides) await hand.rollbackTo(mark.name);
    return { result: 'rolled back' };
  }

  async #nested({ steps, end }: Step & { readonly kind: 'nested' }, where: string): Promise<void> {
    const made = await this.#mark();
    const what = `nested run, ${end}`;
    if (!('name' in made)) return this.#note(where, what, made);
    await this.#steps(steps, `${where}.`);
    if (end === 'return') return this.#note(where, what, { result: 'returned' });
    await this.#returnTo(made);
    return this.#note(where, what, { error: 'thrown in a nested run' });
  }

  async #own(step: Step & { readonly kind: 'own' }, where: string): Promise<void> {
    const database = step.database % this.#sides.length;
    const { hand, dialect } = this.#sides[database]!;
    if (this.#dead) return this.#note(where, 'BEGIN', { error: 'ERR_TXN_FAILED' });
    const name = `by_hand_${++this.#names}`;
    const refusal = await hand.savepoint(name);
    this.#note(where, 'BEGIN', refusal === undefined ? dialect.answerOf('BEGIN') : refusal);
    if (refusal !== undefined) return undefined;
    await this.#ownSteps(step.steps, database, `${where}.`);
    const { failure } = hand;
    if (step.end !== 'commit' || failure !== undefined) await hand.rollbackTo(name);
    await hand.release(name);
    if (step.end === 'rollback') this.#note(where, step.end, dialect.answerOf('ROLLBACK'));
    else if (step.end === 'commit') {
      this.#note(where, step.end, failure === undefined ? dialect.answerOf('COMMIT') : silentRollback(failure));
    }
    return undefined;
  }

  async #ownSteps(steps: readonly OwnStep[], database: number, prefix: string): Promise<void> {
    for (const [index, step] of steps.entries()) {
      const where = `${prefix}${index}`;
      if ('name' in step) {
        const text = textOf(step);
        this.#note(where, text, await this.#sides[database]!.hand.ask(plain(text)));
      } else await this.#simple(step, where, database);
    }
  }

  async #simple(step: SimpleStep, where: string, own: number | undefined): Promise<void> {
    const uses = step.kind === 'together' ? step.uses : [step.use];
    for (const [index, use] of uses.entries()) {
      const database = own ?? use.database % this.#sides.length;
      const request = this.#statements.request(use, database);
      const asks: Asks = this.#sides[database]!.hand;
      const reply = this.#dead
        ? { error: 'ERR_TXN_FAILED' }
        : await (step.kind === 'cursor' ? asks.readInBatches(request, step.size, step.reads) : asks.ask(request));
      this.#note(`${where}[${index}]`, this.#statements.describe(request), reply);
    }
  }
}
