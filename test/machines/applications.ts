// The application on one of the machines, as the test sees it: a process on a host, and what it has said.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Setting } from '../soak/setting.ts';
import type { Place } from '../soak/tellers.ts';
import { NODE_ARGUMENTS, program } from '../support/program.ts';
import type { Ended, Make, Order, Word } from './messages.ts';
import type { Host } from './network.ts';

/** How a Node process is started on a host. */
export function nodeOn({ enter }: Host): Place {
  const [program, ...entering] = enter;
  return { execPath: program!, execArgv: [...entering, process.execPath, ...NODE_ARGUMENTS] };
}

/** How long anything may take on a machine that has much else to do; only what hangs takes longer. */
export const PATIENCE_MS = 60_000;

export class Application {
  readonly host: Host;
  readonly ended: Map<string, Ended> = new Map();
  readonly resolved: Map<string, 'committed' | 'aborted' | 'unknown'> = new Map();
  /** Identities of processes that it has taken for dead. */
  readonly fenced: string[] = [];
  /** Branches that its recovery has ended. */
  recovered = 0;
  /** The codes of what its coordinator has reported. */
  readonly reported: string[] = [];
  readonly #child: ChildProcess;
  readonly #waiting = new Set<string>();
  #isReady = false;
  #gid = '';
  /** Who waits for a word, asked anew at each. */
  readonly #listeners = new Set<() => void>();

  private constructor(host: Host, child: ChildProcess) {
    this.host = host;
    this.#child = child;
    child.on('message', (word: Word) => this.#hear(word));
    child.on('error', () => undefined);
    child.on('exit', () => this.#tell());
  }

  static async start(host: Host, { urls, leaseMs }: Pick<Setting, 'urls' | 'leaseMs'>): Promise<Application> {
    const setting: Setting = { name: host.name, life: 1, seed: '', urls, leaseMs, recovery: 'fence', atOnce: 1 };
    const child = fork(program(join(import.meta.dirname, 'application.ts')), [JSON.stringify(setting)], {
      ...nodeOn(host),
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    const application = new Application(host, child);
    await application.until('be ready', () => application.#isReady);
    return application;
  }

  /** Under which identity it has made its last transfer. */
  get incarnation(): string {
    return this.#gid.split(':')[2]!;
  }

  #hear(word: Word): void {
    switch (word.is) {
      case 'ready':
        this.#isReady = true;
        break;
      case 'waiting':
        this.#waiting.add(word.id);
        this.#gid = word.gid;
        break;
      case 'ended':
        this.ended.set(word.id, word);
        break;
      case 'resolved':
        this.resolved.set(word.id, word.outcome);
        break;
      case 'recovered':
        this.fenced.push(...word.fenced);
        this.recovered += word.ended;
        break;
      case 'reported':
        this.reported.push(word.code);
    }
    this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Waits until that is so, which a word of the application makes. */
  async until(what: string, isSo: () => boolean): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const fail = (why: string): void => {
        stop();
        reject(new Error(`the application on ${this.host.name} must ${what}, but ${why}`));
      };
      const look = (): void => {
        if (isSo()) {
          stop();
          resolve();
        } else if (this.#child.exitCode !== null || this.#child.signalCode !== null) fail('it has ended');
      };
      const stop = (): void => {
        clearTimeout(timer);
        this.#listeners.delete(look);
      };
      const timer = setTimeout(() => fail(`hasn't within ${PATIENCE_MS} ms`), PATIENCE_MS);
      this.#listeners.add(look);
      look();
    });
  }

  #order(order: Order): void {
    this.#child.send(order, () => undefined);
  }

  /** Begins a transfer, and waits until it waits there; of one that waits nowhere, until it has ended. */
  async make(transfer: Omit<Make, 'do'>): Promise<void> {
    const { id, waitAt } = transfer;
    this.#order({ do: 'make', ...transfer });
    await this.until(`come to '${waitAt ?? 'the end'}' of ${id}`, () => this.#waiting.has(id) || this.ended.has(id));
    const ended = this.ended.get(id);
    if (waitAt !== undefined && ended !== undefined) throw new Error(`${id} ended early: ${ended.error?.message}`);
  }

  /** Begins a transfer, and waits for nothing. */
  begin(transfer: Omit<Make, 'do'>): void {
    this.#order({ do: 'make', ...transfer });
  }

  goOn(id: string): void {
    this.#order({ do: 'go on', id });
  }

  /** Waits until the caller of a transfer was told how it ended. */
  async end(id: string): Promise<Ended> {
    await this.until(`end ${id}`, () => this.ended.has(id));
    return this.ended.get(id)!;
  }

  pause(): void {
    this.#child.kill('SIGSTOP');
  }

  resume(): void {
    this.#child.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}
