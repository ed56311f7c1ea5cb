// All cells of the crash matrix at once while one fault is tried: one process runs a transaction for each, and it happens to all of
// them.
import { assert } from '../support/suite.ts';
import { Case, type Cell } from './case.ts';
import { Child, PATIENCE_MS } from './child.ts';
import type { Database, World } from './databases.ts';
import type { Point } from './messages.ts';
import { type Opened, type Setting, open } from './resources.ts';

/** How a batch is run. */
export interface BatchOptions extends Partial<Setting> {
  readonly stopAt?: Point;
  readonly votesNo?: boolean;
}

/** Recoverers are patient with each other and with the servers. */
const RECOVERER: Partial<Setting> = { everyMs: 2_000_000_000, leaseMs: 60_000 };

export class Batch {
  readonly cases: readonly Case[];
  readonly child: Child;
  readonly #others: Child[] = [];

  private constructor(cases: readonly Case[], child: Child) {
    this.cases = cases;
    this.child = child;
  }

  static async open(cells: readonly Cell[], world: World): Promise<Batch> {
    return new Batch(await Promise.all(cells.map((cell) => Case.open(cell, world))), new Child());
  }

  /** Does the same for every cell. */
  async each(work: (one: Case) => unknown): Promise<void> {
    await Promise.all(this.cases.map(async (one) => work(one)));
  }

  /** Starts the transactions. */
  start({ stopAt, votesNo = false, ...patience }: BatchOptions = {}): void {
    this.child.order({ do: 'run', tasks: this.cases.map((one) => one.task(stopAt, votesNo, patience)) });
  }

  /** Starts them, and waits until all have come to a point. */
  async startUntil(stopAt: Point, options: BatchOptions = {}): Promise<void> {
    this.start({ ...options, stopAt });
    await this.each((one) => one.at(this.child, stopAt));
  }

  goOn(): void {
    this.child.order({ do: 'go on' });
  }

  /** The process is gone, from one instruction to the next. */
  async kill(): Promise<void> {
    await this.child.kill();
  }

  /** Another process that works on each case, as a recoverer, through the proxies. */
  recoverer(): Child {
    const child = new Child();
    this.#others.push(child);
    for (const one of this.cases) {
      child.order({ do: 'recover', name: one.name, setting: one.setting(true, RECOVERER) });
    }
    return child;
  }

  /** Two processes recover at the same time, again and again, until nothing is left. */
  async recover(): Promise<void> {
    await this.each(async (one) => {
      await this.recoverUntil(one, () => one.isClean());
    });
  }

  async recoverUntil(one: Case, isDone: () => Promise<boolean>): Promise<void> {
    const recoverers = [1, 2].map(() => open(one.setting(false, RECOVERER), { onError: () => undefined }));
    try {
      await assert.eventually(
        async () => {
          const passes = await Promise.allSettled(recoverers.map(({ coordinator }) => coordinator.recover()));
          if (await isDone()) return;
          throw new Error(`${one.name}: after recovery there is still ${await this.#left(one, passes)}`);
        },
        PATIENCE_MS,
        50,
      );
    } finally {
      await Promise.all(recoverers.map((each: Opened) => each.close()));
    }
  }

  /** Another process runs some passes of recovery; through the proxies, where it is to reach no more than the coordinator does. */
  async passes(one: Case, count: number, { throughProxies = false } = {}): Promise<void> {
    const recoverer = open(one.setting(throughProxies, { ...RECOVERER, resolveTimeoutMs: 500 }), {
      onError: () => undefined,
    });
    for (let pass = 0; pass < count; pass++) await recoverer.coordinator.recover();
    await recoverer.close();
  }

  async #left(one: Case, passes: readonly PromiseSettledResult<unknown>[]): Promise<string> {
    return JSON.stringify({
      prepared: await one.prepared('a', 'b'),
      decisions: await one.decisions(),
      passes: passes.map((pass) => (pass.status === 'fulfilled' ? pass.value : String(pass.reason))),
    });
  }

  /** Kills these databases' servers, as a power cut would, and starts them again. */
  async crash(choose: (one: Case) => readonly Database[], meanwhile?: () => Promise<unknown>): Promise<void> {
    const servers = [...new Set(this.cases.flatMap((one) => choose(one).map(({ server }) => server)))];
    await Promise.all(servers.map((server) => server.kill('SIGKILL')));
    try {
      await meanwhile?.();
    } finally {
      await Promise.all(servers.map((server) => server.restart()));
    }
  }

  /** No process of the batch lives any more. */
  async end(): Promise<void> {
    await Promise.all([this.child, ...this.#others].map((child) => child.kill()));
    await this.each((one) => one.close());
  }
}
