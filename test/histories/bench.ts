// Two databases of the shared servers for histories whose interleaving a test decides: a is PostgreSQL, b is MariaDB.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunOptions, type Transaction, TransactionCoordinator } from 'unanimous';
import { PgDecisionLog } from 'unanimous/pg';
import { mariadb, postgres } from '../support/servers.ts';
import { type TcpProxy, tcpProxy } from '../support/proxy.ts';
import { assert } from '../support/suite.ts';
import { DATABASES, type DatabaseName, type Ending, type History } from './history.ts';
import { perform } from './perform.ts';
import {
  type Books,
  CLIENT,
  type MariadbPlace,
  type PostgresPlace,
  mariadbBooks,
  mariadbPlace,
  postgresBooks,
  postgresPlace,
} from './places.ts';
import { type Line, Recorder, type Told, historyOf, linesOf } from './record.ts';
import type { Action, PlannedStep } from './workload.ts';

/** Opens once so many have come. */
export class Barrier {
  readonly opened: Promise<void>;
  #open!: () => void;
  #missing: number;

  constructor(size: number) {
    this.#missing = size;
    this.opened = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  come(): Promise<void> {
    if (--this.#missing === 0) this.#open();
    return this.opened;
  }
}

export interface Script {
  readonly isolation?: NonNullable<RunOptions['isolation']>;
  readonly options?: RunOptions;
  readonly before?: (txn: Transaction) => unknown;
  /** Before the step of this index; in the first attempt only, as others wait for it no more then. */
  readonly at?: Readonly<Record<number, () => unknown>>;
  /** When all steps are done, in the first attempt only. */
  readonly after?: () => unknown;
}

const APP = 'bench';

const ACTIONS: Readonly<Record<string, Action>> = { '+': 'append', '*': 'rewrite', '=': 'read' };

export class Bench {
  readonly coordinator: TransactionCoordinator;
  readonly urls: { readonly [D in DatabaseName]: string };
  readonly places: { readonly a: PostgresPlace; readonly b: MariadbPlace };
  readonly books: { readonly [D in DatabaseName]: Books };
  /** Between the library and b. */
  readonly proxy: TcpProxy;
  readonly #folder = mkdtempSync(join(tmpdir(), 'unanimous-bench-'));
  #recorder: Recorder;
  #files: string[] = [];
  #round = 0;

  private constructor(urls: Bench['urls'], proxy: TcpProxy) {
    this.urls = urls;
    this.proxy = proxy;
    this.coordinator = new TransactionCoordinator({ app: APP });
    const a = postgresPlace('a', urls.a, this.coordinator);
    this.places = { a, b: mariadbPlace('b', proxy.url(urls.b), this.coordinator) };
    this.books = { a: postgresBooks(urls.a.replace(`=${CLIENT}`, '=books')), b: mariadbBooks(urls.b, APP) };
    this.coordinator.configure({ decisionLog: new PgDecisionLog(a.session) });
    this.#recorder = this.#record();
  }

  static async open(): Promise<Bench> {
    const [a, b] = await Promise.all([postgres(), mariadb()]);
    const urls = { a: `${await a.database()}?application_name=${CLIENT}`, b: await b.database() };
    const bench = new Bench(urls, await tcpProxy(b.port));
    await Promise.all(DATABASES.map((name) => bench.books[name].make()));
    return bench;
  }

  #record(): Recorder {
    const file = join(this.#folder, `${++this.#round}.jsonl`);
    this.#files = [file];
    return new Recorder(file);
  }

  get recorder(): Recorder {
    return this.#recorder;
  }

  /** A new history; what is in the lists already is put there by an attempt of it. */
  async reset(seeded: readonly string[] = []): Promise<void> {
    this.#recorder.close();
    this.#recorder = this.#record();
    if (seeded.length > 0) await this.play('seed', seeded.join(' '));
  }

  /** Keys are used once: lists of other histories are left out of this one. */
  key(name: string): string {
    return `${this.#round}-${name}`;
  }

  /** Plays a transaction of steps such as `a/x+` (append), `a/x=` (read), `a/x*` (read, and write back with a value more). */
  play(id: string, steps: string, { isolation, options, before, at, after }: Script = {}): Promise<Ending> {
    const planned = steps.split(' ').map((text): PlannedStep => {
      const [, database, key, sign] = /^([ab])\/(\w+)([+*=])$/.exec(text)!;
      return { do: ACTIONS[sign!]!, database: database as DatabaseName, key: this.key(key!), pauseMs: 0 };
    });
    // Also where it is called by another one, which isn't to have it as a part of its own.
    return this.coordinator.detached(perform)({
      id,
      coordinator: this.coordinator,
      places: this.places,
      recorder: this.#recorder,
      steps: planned,
      options: { attempts: 5, isolation, ...options },
      before: (txn) => before?.(txn),
      beforeStep: (index, txn) => (txn.attempt === 1 ? at?.[index]?.() : undefined),
      after: (txn) => (txn.attempt === 1 ? after?.() : undefined),
    });
  }

  get lines(): readonly Line[] {
    return linesOf(this.#files);
  }

  /** How often something was tried again, and why. */
  get again(): readonly string[] {
    const told = this.lines.filter((line): line is Told => line.at === 'told' && line.ending === 'aborted');
    return told.map(({ code }) => String(code));
  }

  /** When nothing is under way any more. */
  async history(): Promise<History> {
    await assert.eventually(async () => (await this.books.a.underWay()).length === 0);
    const prefix = this.key('');
    const lists = await Promise.all(
      DATABASES.map(async (name) => {
        const own = [...(await this.books[name].lists())].filter(([key]) => key.startsWith(prefix));
        return [name, new Map(own)] as const;
      }),
    );
    return historyOf(this.lines, new Map(lists));
  }

  async close(): Promise<void> {
    this.#recorder.close();
    await this.coordinator.close();
    await Promise.all(DATABASES.flatMap((name) => [this.places[name].close(), this.books[name].close()]));
    await this.proxy.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
