// The processes of clients, as their parent sees them: they are killed and started anew, and each life has a file of its own.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { NODE_ARGUMENTS, program } from '../support/program.ts';
import type { Order, Setting, Word } from './setting.ts';

/** How long a machine with much else to do may take for anything, in milliseconds. */
export const PATIENCE_MS = 120_000;

export class ClientProcess {
  readonly name: string;
  life = 0;
  /** What ended it though nobody has killed it. */
  readonly deaths: string[] = [];
  readonly #setting: (life: number) => Setting;
  #process: ChildProcess | undefined;
  #isMeant = false;

  constructor(name: string, setting: (life: number) => Setting) {
    this.name = name;
    this.#setting = setting;
  }

  async start(): Promise<void> {
    const life = ++this.life;
    const child = fork(program(join(import.meta.dirname, 'client.ts')), [JSON.stringify(this.#setting(life))], {
      execArgv: [...NODE_ARGUMENTS],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#process = child;
    this.#isMeant = false;
    // A message to one that is gone.
    child.on('error', () => undefined);
    child.once('exit', (code, signal) => {
      if (this.#process !== child) return;
      this.#process = undefined;
      if (!this.#isMeant) this.deaths.push(`${this.name}, life ${life}: ${signal ?? `exit code ${code}`}`);
    });
    await this.#says(child, 'ready');
  }

  order(order: Order): void {
    this.#process?.send(order, () => undefined);
  }

  /** Waits until everything that it had begun has ended. */
  async rest(): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    const resting = this.#says(child, 'resting');
    this.order({ do: 'rest' });
    await resting;
  }

  async #says(child: ChildProcess, wanted: Word): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const end = (failure?: Error): void => {
        clearTimeout(timer);
        child.off('message', hear).off('exit', gone);
        if (failure === undefined) resolve();
        else reject(failure);
      };
      const hear = (word: Word): void => (word === wanted ? end() : undefined);
      // That it has ended is a finding of its own.
      const gone = (): void => end();
      const late = new Error(`the process ${this.name} must be ${wanted} within ${PATIENCE_MS} ms, but isn’t`);
      const timer = setTimeout(() => end(late), PATIENCE_MS);
      child.on('message', hear).once('exit', gone);
    });
  }

  /** Lets it kill itself, or kills it where it doesn't come to that; whether it did. */
  async die(order: Order, withinMs: number): Promise<boolean> {
    const child = this.#process;
    if (child === undefined) return false;
    this.#isMeant = true;
    const ended = once(child, 'exit').then(() => true);
    this.order(order);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), withinMs);
    });
    const died = await Promise.race([ended, late]);
    clearTimeout(timer);
    if (!died) await this.kill();
    return died;
  }

  async kill(): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    this.#isMeant = true;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** At the end of this process, where nothing can be awaited. */
  killNow(): void {
    this.#process?.kill('SIGKILL');
  }
}
