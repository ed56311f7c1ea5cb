// What has happened, in a folder that is kept where a rule was broken: what the tellers said, what went wrong when, what is in the
// databases, and what their servers have written.
import { type WriteStream, copyFileSync, createWriteStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { once } from 'node:events';
import type { Breach } from './checks.ts';
import type { State } from './ledgers.ts';
import type { World } from './world.ts';

export class Evidence {
  readonly folder: string;
  readonly #log: WriteStream;
  readonly #startedAt = performance.now();

  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'unanimous-soak-'));
    this.#log = createWriteStream(join(this.folder, 'events.log'));
  }

  /** A line of `events.log`: after how many seconds, who, and what. */
  log(who: string, what: unknown): void {
    const seconds = ((performance.now() - this.#startedAt) / 1000).toFixed(3);
    this.#log.write(`${seconds} ${who} ${JSON.stringify(what)}\n`);
  }

  /** Writes down what is in the databases, and what is wrong with it. */
  keep(breaches: readonly Breach[], state: State, world: World): void {
    this.#write('breaches.json', breaches);
    this.#write('state.json', state);
    for (const name of world.servers) {
      copyFileSync(join(dirname(world.server(name).dataDir), 'server.log'), join(this.folder, `${name}.log`));
    }
  }

  #write(name: string, value: unknown): void {
    const readable = (_key: string, each: unknown): unknown => (each instanceof Map ? Object.fromEntries(each) : each);
    writeFileSync(join(this.folder, name), JSON.stringify(value, readable, 1));
  }

  /** At the end of this process, where nothing can be awaited: nobody has asked for it. */
  drop(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  async close(isKept: boolean): Promise<void> {
    this.#log.end();
    await once(this.#log, 'close');
    if (!isKept) this.drop();
  }
}
