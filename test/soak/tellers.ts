// The tellers, as their parent sees them: processes that are killed, paused and started anew, and what they have said.
import { type ChildProcess, type ForkOptions, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { NODE_ARGUMENTS, program } from '../support/program.ts';
import type { Order, Setting, Word } from './setting.ts';

/** How long a machine with much else to do may take for anything, in milliseconds. */
export const PATIENCE_MS = 120_000;

/** Whoever listens to the tellers. */
export interface Listener {
  heard(teller: Teller, life: number, word: Word): void;
  /** It has ended although nobody killed it. */
  died(teller: Teller, how: string): void;
}

/** How the process of a teller is started. */
export type Place = Pick<ForkOptions, 'execPath' | 'execArgv'>;

const HERE: Place = { execArgv: [...NODE_ARGUMENTS] };

export class Teller {
  readonly name: string;
  life = 0;
  readonly #setting: (life: number) => Setting;
  readonly #listener: Listener;
  readonly #place: Place;
  #process: ChildProcess | undefined;
  /** What it is waited for to say, and what to do when it has, or has ended before. */
  #awaited: { readonly is: Word['is']; readonly settle: (failure?: Error) => void } | undefined;

  constructor(name: string, setting: (life: number) => Setting, listener: Listener, place: Place = HERE) {
    this.name = name;
    this.#place = place;
    this.#setting = setting;
    this.#listener = listener;
  }

  /** Starts the process, and waits until it can be told what to do. */
  async start(): Promise<void> {
    const life = ++this.life;
    const child = fork(program(join(import.meta.dirname, 'teller.ts')), [JSON.stringify(this.#setting(life))], {
      ...this.#place,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#process = child;
    const ready = this.#when('ready');
    child.on('message', (word: Word) => {
      this.#listener.heard(this, life, word);
      if (this.#process === child && word.is === this.#awaited?.is) this.#awaited.settle();
    });
    // A message to one that is gone.
    child.on('error', () => undefined);
    child.once('exit', (code, signal) => {
      if (this.#process !== child) return;
      this.#process = undefined;
      this.#listener.died(this, signal ?? `exit code ${code}`);
      // That it has ended is a finding of its own.
      this.#awaited?.settle();
    });
    await ready;
  }

  order(order: Order): void {
    this.#process?.send(order, () => undefined);
  }

  /** Gives an order, and waits until the teller has said that; or no longer than `forMs`, where it may not come to that. */
  async ask(order: Order, until: Word['is'], forMs?: number): Promise<void> {
    if (this.#process === undefined) return;
    const told = this.#when(until, forMs);
    this.order(order);
    await told;
  }

  #when(is: Word['is'], forMs?: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (failure?: Error): void => {
        clearTimeout(timer);
        this.#awaited = undefined;
        if (failure === undefined) resolve();
        else reject(failure);
      };
      const late = new Error(`teller ${this.name} must be '${is}' within ${PATIENCE_MS} ms, but has not said so`);
      const timer = setTimeout(() => settle(forMs === undefined ? late : undefined), forMs ?? PATIENCE_MS);
      this.#awaited = { is, settle };
    });
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** It stands still, whatever it does, and knows nothing of it. */
  pause(): void {
    this.#process?.kill('SIGSTOP');
  }

  resume(): void {
    this.#process?.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    this.#process = undefined;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** At the end of this process, where nothing can be awaited. */
  killNow(): void {
    this.#process?.kill('SIGKILL');
  }
}
