// A process that the crash matrix runs, pauses and kills.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { NODE_ARGUMENTS, program } from '../support/program.ts';
import type { Order, Word } from './messages.ts';

/** How long a machine with much else to do may take for anything, in milliseconds. */
export const PATIENCE_MS = 60_000;

export class Child {
  readonly #process: ChildProcess;
  /** All that it has said. */
  readonly words: Word[] = [];

  constructor() {
    this.#process = fork(program(join(import.meta.dirname, 'coordinator.ts')), {
      execArgv: [...NODE_ARGUMENTS],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    // Every case waits for its own words.
    this.#process.setMaxListeners(0);
    this.#process.on('message', (word: Word) => this.words.push(word));
    this.#process.on('error', () => undefined);
  }

  order(order: Order): void {
    this.#process.send(order);
  }

  /** Waits until it has said something of `name` that `find` takes, and returns that. */
  heard<W extends Word>(name: string, find: (word: Word) => word is W): Promise<W> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const word = this.words.find((each): each is W => each.name === name && find(each));
        if (word === undefined) return;
        stop();
        resolve(word);
      };
      const stop = (): void => {
        clearTimeout(timer);
        this.#process.off('message', look);
      };
      const timer = setTimeout(() => {
        stop();
        const said = this.words.filter((each) => each.name === name).map((each) => JSON.stringify(each));
        reject(new Error(`within ${PATIENCE_MS} ms the process said of ${name}: ${said.join(', ') || 'nothing'}`));
      }, PATIENCE_MS);
      this.#process.on('message', look);
      look();
    });
  }

  /** It stops at once, whatever it does, and knows nothing of it. */
  pause(): void {
    this.#process.kill('SIGSTOP');
  }

  resume(): void {
    this.#process.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await ended;
  }
}
