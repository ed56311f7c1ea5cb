// Owns time: a queue of events, whose owners (processes and servers) can be paused and can die. Between two events everything that can go
// on without waiting goes on, so that whatever runs belongs to the owner of the event that came last. Each owner has a clock of its own.
import { AsyncLocalStorage } from 'node:async_hooks';
import { environment } from '../../coordinator/environment.ts';
import type { Random } from './random.ts';

/** What events belong to. */
export class Owner {
  readonly name: string;
  /** Grows with each death: events of an earlier life never come. */
  life = 1;
  isUp = true;
  pausedUntilMs = 0;
  /** How its clock goes: monotonic and its own, as performance.now() is. */
  readonly clock = { offsetMs: 0, rate: 1 };
  /** Its timers that have neither come nor been cleared. */
  readonly timers = new Set<OwnTimer>();
  /** How many calls of each server it waits for. */
  readonly calls = new Map<string, number>();

  constructor(name: string) {
    this.name = name;
  }

  /** Where its contexts are kept. */
  readonly storages = new Set<AsyncLocalStorage<unknown>>();

  die(): void {
    this.life++;
    this.isUp = false;
    this.timers.clear();
    this.calls.clear();
    this.forgetStorages();
  }

  forgetStorages(): void {
    for (const storage of this.storages) storage.disable();
    this.storages.clear();
  }
}

/** Everything that has happened, mixed into 64 bits: what happened when, to whom, in which order. */
class Trace {
  readonly #float = new Float64Array(1);
  readonly #words = new Uint32Array(this.#float.buffer);
  readonly #hash = new Uint32Array([0x811c9dc5, 0x01000193]);

  add({ atMs, sequence, owner, life }: Event): void {
    this.#float[0] = atMs;
    this.#mix(this.#words[0]!);
    this.#mix(this.#words[1]!);
    this.#mix(sequence);
    this.#mix(life);
    if (owner === undefined) return;
    for (let index = 0; index < owner.name.length; index++) this.#mix(owner.name.charCodeAt(index));
  }

  #mix(word: number): void {
    const hash = this.#hash;
    hash[0] = Math.imul(hash[0]! ^ word, 0x01000193);
    hash[1] = Math.imul((hash[1]! + word) ^ (hash[0] >>> 13), 0x85ebca6b);
  }

  toString(): string {
    return [...this.#hash].map((word) => word.toString(16).padStart(8, '0')).join('');
  }
}

export interface Event {
  readonly atMs: number;
  readonly sequence: number;
  readonly owner: Owner | undefined;
  readonly life: number;
  readonly callback: () => void;
  isCancelled: boolean;
}

/** A timer by the clock of its owner. */
interface OwnTimer {
  /** By that clock. */
  readonly dueMs: number;
  readonly callback: () => void;
  event: Event;
}

export class Simulator {
  readonly random: Random;
  /** The time that nobody knows; processes and the decision stores have clocks of their own. */
  nowMs = 0;
  /** Called after each step, when everything that could go on has gone on. */
  onStep: () => void = () => undefined;
  readonly #trace = new Trace();
  /** Events that have happened. */
  steps = 0;
  /** Whose code runs. */
  current: Owner | undefined = undefined;
  readonly #queue: Event[] = [];
  readonly #owners = new Set<Owner | undefined>();
  #sequence = 0;

  constructor(random: Random) {
    this.random = random;
  }

  /** Makes the clock, the timers and the randomness of the coordinator this simulator's. Returns the function that gives them back. */
  install(): () => void {
    const before = { ...environment };
    Object.assign(environment, {
      now: () => this.#ownMs(this.current),
      random: () => this.random.next(),
      randomHex: (bytes: number) => this.random.hex(bytes),
      processName: () => this.current?.name ?? 'outside',
      setTimer: (callback: () => void, delayMs: number) => this.#setTimer(this.current!, callback, delayMs),
      clearTimer: (timer: unknown) => this.#clearTimer(timer as OwnTimer),
    } satisfies typeof environment);
    const stopTracking = this.#trackContexts();
    return () => {
      stopTracking();
      Object.assign(environment, before);
    };
  }

  /**
   * Node 20 carries every storage that was ever used along with every promise. A real process takes its storages with it when it dies; here
   * those of the dead must be put away, or everything gets slower with each death.
   */
  #trackContexts(): () => void {
    const { run, enterWith } = AsyncLocalStorage.prototype;
    const track = (storage: AsyncLocalStorage<unknown>): void => {
      const owner = this.current;
      if (owner !== undefined) owner.storages.add(storage);
      this.#owners.add(owner);
    };
    AsyncLocalStorage.prototype.run = function (this: AsyncLocalStorage<unknown>, ...args: never[]): never {
      track(this);
      return Reflect.apply(run, this, args) as never;
    };
    AsyncLocalStorage.prototype.enterWith = function (this: AsyncLocalStorage<unknown>, store: unknown): void {
      track(this);
      Reflect.apply(enterWith, this, [store]);
    };
    return () => {
      Object.assign(AsyncLocalStorage.prototype, { run, enterWith });
      for (const owner of this.#owners) owner?.forgetStorages();
    };
  }

  /** What has happened, in order, as one number. */
  get trace(): string {
    return this.#trace.toString();
  }

  #ownMs(owner: Owner | undefined): number {
    return owner === undefined ? this.nowMs : this.nowMs * owner.clock.rate + owner.clock.offsetMs;
  }

  /** Begins a clock at 0, as that of a new process does, with a rate of its own. */
  startClock({ clock }: Owner, rate: number): void {
    clock.rate = rate;
    clock.offsetMs = -this.nowMs * rate;
  }

  /** Sets a clock forward or back: timers that it is behind of now are due, others come sooner or later than they would have. */
  moveClock(owner: Owner, byMs: number): void {
    owner.clock.offsetMs += byMs;
    for (const timer of owner.timers) {
      timer.event.isCancelled = true;
      timer.event = this.#arm(owner, timer);
    }
  }

  #setTimer(owner: Owner, callback: () => void, delayMs: number): OwnTimer {
    const timer = { dueMs: this.#ownMs(owner) + delayMs, callback } as OwnTimer;
    timer.event = this.#arm(owner, timer);
    // What the dead set in the turn of their death must not come when the clock of their next life is moved.
    if (!timer.event.isCancelled) owner.timers.add(timer);
    return timer;
  }

  #arm(owner: Owner, timer: OwnTimer): Event {
    const callback = (): void => {
      owner.timers.delete(timer);
      timer.callback();
    };
    return this.after((timer.dueMs - this.#ownMs(owner)) / owner.clock.rate, owner, callback);
  }

  #clearTimer(timer: OwnTimer): void {
    timer.event.isCancelled = true;
    timer.event.owner?.timers.delete(timer);
  }

  /** Calls back after a time, unless its owner has died by then (in that life); later, where it is paused. */
  after(delayMs: number, owner: Owner | undefined, callback: () => void, life: number = owner?.life ?? 0): Event {
    const event = {
      atMs: this.nowMs + Math.max(0, delayMs),
      sequence: this.#sequence++,
      owner,
      life,
      callback,
      // Of one that died in the middle of this turn nothing comes any more, also not in its next life.
      isCancelled: owner !== undefined && !owner.isUp,
    };
    return event.isCancelled ? event : this.#push(event);
  }

  /** Lets everything happen until a time has come. */
  async runUntil(endMs: number): Promise<void> {
    for (;;) {
      const event = this.#queue[0];
      if (event === undefined || event.atMs > endMs) break;
      this.#pop();
      this.nowMs = event.atMs;
      if (!this.#fire(event)) continue;
      await goOn();
      this.onStep();
    }
    this.nowMs = Math.max(this.nowMs, endMs);
    this.current = undefined;
  }

  /** Runs code of an owner now. */
  async as(owner: Owner, work: () => void): Promise<void> {
    this.current = owner;
    work();
    await goOn();
    this.current = undefined;
  }

  #fire(event: Event): boolean {
    const { owner } = event;
    if (event.isCancelled || (owner !== undefined && owner.life !== event.life)) return false;
    if (owner !== undefined && owner.pausedUntilMs > this.nowMs) {
      // Everything that comes for it while it is paused comes at once afterwards, in the same order. Copied, but cancellable.
      const later: Event = { ...event, atMs: owner.pausedUntilMs };
      Object.defineProperty(later, 'isCancelled', { get: () => event.isCancelled });
      this.#push(later);
      return false;
    }
    this.steps++;
    this.#trace.add(event);
    this.current = owner;
    event.callback();
    return true;
  }

  #push(event: Event): Event {
    const queue = this.#queue;
    let index = queue.push(event) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isBefore(event, queue[parent]!)) break;
      queue[index] = queue[parent]!;
      index = parent;
    }
    queue[index] = event;
    return event;
  }

  #pop(): void {
    const queue = this.#queue;
    const last = queue.pop()!;
    if (queue.length === 0) return;
    let index = 0;
    for (;;) {
      let child = index * 2 + 1;
      if (child >= queue.length) break;
      if (child + 1 < queue.length && isBefore(queue[child + 1]!, queue[child]!)) child++;
      if (!isBefore(queue[child]!, last)) break;
      queue[index] = queue[child]!;
      index = child;
    }
    queue[index] = last;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence);
}

/** Lets every promise job that is due run. */
function goOn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
