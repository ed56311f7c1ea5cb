/**
 * What is asked of the connection of a branch: one thing at a time is under way on it, or several that were sent together; what comes meanwhile
 * waits, in the order in which it was asked for.
 */
import type { Transaction } from '../../coordinator/transaction.ts';
import type { SqlConnection } from './connection.ts';
import type { SqlSession } from './session.ts';

/** Work on the connection. */
export type Work<T> = (connection: SqlConnection) => Promise<T>;

/** Whose connection it is. */
export interface QueueOwner {
  readonly session: SqlSession;
  readonly txn: Transaction;
  /** The connection, once it was taken. */
  readonly connection: SqlConnection | undefined;
  /** Takes it for what waits: then `next` is called, behind `refuseFirst` where it isn't to be had. */
  connect(): void;
  /** What the user is told of an error. */
  explain(error: Error): Error;
  /** Why what waits isn't sent any more; undefined where it is. */
  readonly obstacle: Error | undefined;
}

/** Work that waits for its turn. */
interface Waiting {
  readonly work: Work<unknown>;
  readonly stop: (() => void) | undefined;
  readonly shares: (() => boolean) | undefined;
  /** Takes what `work` answers. */
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
}

/** How many statements are sent in one flight at most. */
const MOST_TOGETHER = 100;

/** The promise of work, also where it throws. */
function started<T>(connection: SqlConnection, work: Work<T>): Promise<T> {
  try {
    return work(connection);
  } catch (error) {
    return Promise.reject(error);
  }
}

export class StatementQueue {
  readonly #owner: QueueOwner;
  #busy = false;
  /** How much of what was sent together is still under way. */
  #running = 0;
  #stop: (() => void) | undefined = undefined;
  readonly #waiting: Waiting[] = [];
  /** Called in place of sending what waits: the commit is to go with it. */
  #onBoarding: (() => void) | undefined = undefined;
  #idle: (() => void)[] | undefined = undefined;

  constructor(owner: QueueOwner) {
    this.#owner = owner;
  }

  /** Whether anything is under way, or a connection is waited for. */
  get isBusy(): boolean {
    return this.#busy;
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** Stops the cursor or stream under way, which may stay open for as long as its reader likes. */
  get stop(): (() => void) | undefined {
    return this.#stop;
  }

  /** Runs `work` when everything asked for before is done. */
  add<T>(work: Work<T>, stop: (() => void) | undefined, shares: (() => boolean) | undefined): Promise<T> {
    const owner = this.#owner;
    const { connection } = owner;
    const mayGoWithCommit = shares !== undefined && owner.session.commitsBehindStatements;
    if (!this.#busy && connection !== undefined && !mayGoWithCommit) {
      this.#busy = true;
      this.#running = 1;
      return this.#start(connection, work, stop).then(
        (value) => {
          this.#through();
          return value;
        },
        (error: Error) => {
          throw this.#failed(error);
        },
      );
    }
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ work, stop, shares, resolve, reject });
      if (this.#busy) return;
      this.#busy = true;
      if (connection === undefined) owner.connect();
      // What is asked for before anything else happens goes along: the commit that comes when the function has returned, too.
      else queueMicrotask(() => process.nextTick(() => this.next()));
    });
  }

  /** Starts work on a connection that is idle, or on which it may travel with what was started before. */
  #start<T>(connection: SqlConnection, work: Work<T>, stop: (() => void) | undefined): Promise<T> {
    const { txn } = this.#owner;
    txn.manager.watch?.working(txn);
    this.#stop = stop;
    return started(connection, work);
  }

  #failed(error: Error): Error {
    const explained = this.#owner.explain(error);
    this.#through();
    return explained;
  }

  #through(): void {
    const { txn } = this.#owner;
    txn.manager.watch?.worked(txn);
    if (--this.#running > 0) return;
    this.#stop = undefined;
    this.next();
  }

  /** Goes on with what waits, or is idle. */
  next(): void {
    while (this.#waiting.length > 0) {
      const { obstacle } = this.#owner;
      if (obstacle === undefined) return this.goOn();
      this.#waiting.shift()!.reject(obstacle);
    }
    this.#busy = false;
    const idle = this.#idle;
    this.#idle = undefined;
    if (idle !== undefined) for (const resolve of idle) resolve();
    this.#board();
  }

  /** Sends what waits. */
  goOn(): void {
    if (this.#board()) return;
    const { connection } = this.#owner;
    if (connection === undefined) this.#owner.connect();
    else this.#send(connection, this.#takeTogether(connection));
  }

  #board(): boolean {
    const onBoarding = this.#onBoarding;
    this.#onBoarding = undefined;
    onBoarding?.();
    return onBoarding !== undefined;
  }

  /** Until something that waits would be sent, which it isn't then, or nothing is under way. */
  boarding(): Promise<void> {
    return new Promise<void>((resolve) => (this.#onBoarding = resolve));
  }

  /** Takes what is to be sent next: the first that waits, and with it those behind it that may go in the same flight. */
  #takeTogether({ together }: SqlConnection): Waiting[] {
    const waiting = this.#waiting;
    let count = 1;
    if (together !== undefined && waiting.length > 1 && waiting[0]!.shares?.() === true) {
      while (count < waiting.length && count < MOST_TOGETHER && waiting[count]!.shares?.() === true) count++;
    }
    return waiting.splice(0, count);
  }

  /** Whether all that waits may be sent together. */
  mayGoTogether(): boolean {
    return this.#waiting.every(({ shares }) => shares?.() === true);
  }

  /** Sends all that waits, and with it what `besides` asks for. */
  sendAll(connection: SqlConnection, besides: () => void): void {
    this.#send(connection, this.#waiting.splice(0), besides);
  }

  /** Sends what was taken; `besides` asks for what is to go along. */
  #send(connection: SqlConnection, taken: readonly Waiting[], besides?: () => void): void {
    this.#running = taken.length;
    const ask = (): void => {
      for (const { work, stop, resolve, reject } of taken) {
        this.#start(connection, work, stop).then(
          (value) => {
            this.#through();
            (resolve as (value: unknown) => void)(value);
          },
          (error: Error) => reject(this.#failed(error)),
        );
      }
      besides?.();
    };
    if (taken.length === 1 && besides === undefined) ask();
    else connection.together!(ask);
  }

  /** There is no connection for the first that waits. */
  refuseFirst(error: Error): void {
    this.#waiting.shift()!.reject(error);
  }

  /** Something is under way that was not asked for here. */
  occupy(): void {
    this.#busy = true;
  }

  /** That is through. */
  vacate(): void {
    this.#busy = false;
  }

  /** Waits until nothing is under way; false when that took longer. */
  async isIdleWithin(timeoutMs: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const tooLong = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs);
    });
    const idle = await Promise.race([this.whenIdle().then(() => true), tooLong]);
    clearTimeout(timer);
    return idle;
  }

  whenIdle(): Promise<void> {
    return new Promise((resolve) => {
      if (!this.#busy) resolve();
      else (this.#idle ??= []).push(resolve);
    });
  }
}
