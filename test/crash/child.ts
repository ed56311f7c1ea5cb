// A process that the crash matrix runs, pauses and kills.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { assert } from '../support/suite.ts';
import type { Order, Word } from './messages.ts';

/** How long a machine with much else to do may take for anything, in milliseconds. */
export const PATIENCE_MS = 60_000;

export class Child {
  readonly #process: ChildProcess;
  /** All that it has said. */
  readonly words: Word[] = [];

  constructor() {
    this.#process = fork(join(import.meta.dirname, 'coordinator.ts'), {
      execArgv: ['--import', 'tsx'],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#process.on('message', (word: Word) => this.words.push(word));
    this.#process.on('error', () => undefined);
  }

  order(order: Order): void {
    this.#process.send(order);
  }

  /** Waits until it has said something of `name` that `find` takes, and returns that. */
  heard<W extends Word>(name: string, find: (word: Word) => word is W): Promise<W> {
    return assert.eventually(
      () => {
        const word = this.words.find((each): each is W => each.name === name && find(each));
        if (word !== undefined) return word;
        const said = this.words.filter((each) => each.name === name).map((each) => JSON.stringify(each));
        throw new Error(`the process said of ${name}: ${said.join(', ') || 'nothing'}`);
      },
      PATIENCE_MS,
      5,
    );
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
