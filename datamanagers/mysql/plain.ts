/** The statements of a connection that has none of its own at the server, outside of any transaction of the coordinator. */
import { outside } from '../../coordinator/context.ts';
import type { Asked } from './client.ts';
import type { EnlistedCommand } from './command.ts';
import type { Control } from '../sql/control.ts';
import { controlIn } from './control.ts';
import type { MysqlCommand, MysqlCore, MysqlCorePool, MysqlError, MysqlField } from './driver.ts';
import { type MysqlAnswer, type Send, headersOf, isOpen } from './link.ts';
import { pourInto } from './rows.ts';

/** Each runs on a connection of the plain pool; those of a transaction that the client has begun on the same one. */
export class PlainStatements {
  readonly #pool: MysqlCorePool;
  readonly #lost: (error: Error) => void;
  /** The connection on which the client has begun, or said how it will. */
  #held: MysqlCore | undefined = undefined;
  #isOpen = false;
  /** The client has asked for a transaction of its own. */
  #isAskedFor = false;
  /** Fails what is under way on it and would not hear of its end. */
  #fail: ((error: Error) => void) | undefined = undefined;
  /** Statements of one client run one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #underWay = 0;

  /** `lost` is told when the connection of the client's transaction dies between two statements. */
  constructor(pool: MysqlCorePool, lost: (error: Error) => void) {
    this.#pool = pool;
    this.#lost = lost;
  }

  /** Whether the client has begun here, or is about to: a single statement under way keeps others from nothing. */
  get hasOwn(): boolean {
    return this.#isOpen || this.#isAskedFor;
  }

  /** Runs a statement. */
  ask({ text, send }: Asked): Promise<MysqlAnswer> {
    return this.#run(text, (core) => answerOf(core, send));
  }

  /** Runs a statement whose rows come one by one. */
  async pour({ text, send }: Asked, command: EnlistedCommand): Promise<void> {
    await this.#run(text, async (core) => {
      await this.#poured(core, send, command);
      return undefined;
    });
  }

  async #run<A extends MysqlAnswer | undefined>(text: string, work: (core: MysqlCore) => Promise<A>): Promise<A> {
    const kind = controlIn(text)?.kind;
    this.#underWay++;
    this.#isAskedFor ||= asksForOwn(kind);
    const done = this.#last.then(() => this.#onHeld(kind, work)).finally(() => this.#underWay--);
    this.#last = done.catch(() => undefined);
    return done;
  }

  async #onHeld<A extends MysqlAnswer | undefined>(
    kind: Control['kind'] | undefined,
    work: (core: MysqlCore) => Promise<A>,
  ): Promise<A> {
    const ends = kind === 'commit' || kind === 'rollback';
    this.#isAskedFor ||= asksForOwn(kind);
    try {
      const answer = await work(this.#held ?? (await this.#hold()));
      const header = (answer === undefined ? [] : headersOf(answer)).at(-1);
      if (header !== undefined) this.#isOpen = isOpen(header);
      if (!this.#isOpen && kind !== 'set transaction') this.#giveBack();
      return answer;
    } catch (error) {
      // In a transaction the client's ROLLBACK is still to come.
      if (ends || !this.#isOpen || (error as MysqlError).fatal === true) this.#giveBack(ends);
      throw error;
    }
  }

  #poured(core: MysqlCore, send: Send, to: EnlistedCommand): Promise<void> {
    const rows = to.begun();
    return new Promise<void>((resolve, reject) => {
      let failure: Error | undefined;
      const command = send(core) as MysqlCommand;
      // A command without a callback isn't told that the connection is gone.
      this.#fail = reject;
      command.on('error', (error: MysqlError) => (failure ??= error));
      command.on('fields', (fields: MysqlField[] | undefined) => rows.emit('fields', fields));
      command.once('end', () => (failure === undefined ? resolve() : reject(failure)));
      pourInto(rows, command, () => undefined);
    }).finally(() => (this.#fail = undefined));
  }

  async #hold(): Promise<MysqlCore> {
    const core = await new Promise<MysqlCore>((resolve, reject) => {
      outside(() => this.#pool.getConnection((error, given) => (error === null ? resolve(given) : reject(error))));
    });
    core.on('error', this.#onError);
    this.#held = core;
    return core;
  }

  readonly #onError = (error: Error): void => {
    const isIdle = this.#underWay === 0;
    this.#fail?.(error);
    this.#giveBack(true);
    if (isIdle) this.#lost(error);
  };

  #giveBack(close = false): void {
    const core = this.#held;
    this.#isOpen = this.#isAskedFor = false;
    if (core === undefined) return;
    this.#held = undefined;
    // One that is closed goes on being heard: the driver may tell of more than one error.
    if (close) return core.destroy();
    core.removeListener('error', this.#onError);
    core.release();
  }

  /** Ends what is open, which closes its connection. */
  end(): void {
    this.#giveBack(true);
  }
}

/** How the next transaction runs is said ahead of it, on its connection. */
function asksForOwn(kind: Control['kind'] | undefined): boolean {
  return kind === 'begin' || kind === 'set transaction';
}

function answerOf(core: MysqlCore, send: Send): Promise<MysqlAnswer> {
  return new Promise((resolve, reject) => {
    send(core, (error, rows, fields) => {
      if (error === null || error === undefined) resolve([rows, fields as MysqlField[]]);
      else reject(error);
    });
  });
}
