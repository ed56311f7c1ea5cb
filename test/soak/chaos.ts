// Lets happen what is planned. What one thing happens to isn't hit by another before it is whole again; different ones are, at once.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Link } from '../support/proxy.ts';
import type { Evidence } from './evidence.ts';
import type { Fault, Mishap } from './plan.ts';
import type { ServerName } from './setting.ts';
import type { Tally } from './tally.ts';
import type { Teller } from './tellers.ts';
import type { World } from './world.ts';

/** For how long a commit is waited for that comes to the point where something is to happen to it. */
const WAITING_MS = 3_000;
const RESUME_EVERY_MS = 50;

export class Chaos {
  readonly #world: World;
  readonly #tellers: readonly Teller[];
  readonly #tally: Tally;
  readonly #evidence: Evidence;
  /** What is not whole, and when it is again. */
  readonly #busy = new Map<string, Promise<void>>();

  constructor(world: World, tellers: readonly Teller[], tally: Tally, evidence: Evidence) {
    this.#world = world;
    this.#tellers = tellers;
    this.#tally = tally;
    this.#evidence = evidence;
  }

  /** Lets nothing more happen after `forMs`, and resolves when everything is whole again. */
  async run(plan: readonly Mishap[], forMs: number): Promise<void> {
    const startedAt = performance.now();
    const until = (atMs: number): Promise<void> => sleep(Math.max(0, atMs - (performance.now() - startedAt)));
    const isOver = (): boolean => performance.now() - startedAt >= forMs;
    const happening: Promise<void>[] = [];
    for (const mishap of plan) {
      await until(mishap.atMs);
      const target = targetOf(mishap);
      const before = this.#busy.get(target) ?? Promise.resolve();
      // On a slow machine there isn't time for everything.
      const done = before.then(() => (isOver() ? undefined : this.#letHappen(mishap)));
      this.#busy.set(target, done);
      // Awaited below, with the others.
      done.catch(() => undefined);
      happening.push(done);
    }
    await until(forMs);
    await Promise.all(happening);
  }

  async #letHappen(mishap: Mishap): Promise<void> {
    this.#tally.happened(mishap.kind);
    this.#evidence.log('chaos', mishap);
    switch (mishap.kind) {
      case 'kill':
        await this.#replace(this.#tellers[mishap.teller]!);
        break;
      case 'pause': {
        const teller = this.#tellers[mishap.teller]!;
        teller.pause();
        await sleep(mishap.forMs);
        teller.resume();
        break;
      }
      case 'strand': {
        const teller = this.#tellers[mishap.teller]!;
        // It may be busy with something else for as long as that takes, and stop later.
        await teller.ask({ do: 'stop at', point: mishap.point }, 'stopping', WAITING_MS);
        await sleep(mishap.forMs);
        if (mishap.isKilled) await this.#replace(teller);
        else await goOn(teller);
        break;
      }
      case 'crash': {
        const server = this.#world.server(mishap.server);
        await server.kill('SIGKILL');
        await sleep(mishap.forMs);
        await server.restart();
        break;
      }
      case 'cut':
      case 'refuse':
      case 'drop':
      case 'hold':
        await this.#spoilLink(mishap.kind, mishap.teller, mishap.server, mishap.forMs);
        break;
      case 'lose decision':
        await this.#loseDecision(mishap.teller, mishap.arrives, mishap.forMs);
        break;
      case 'deliver': {
        const books = this.#world.storeBooks();
        // Not while the store is down.
        await books.deliverNow().catch(() => undefined);
        await books.close();
      }
    }
    this.#evidence.log('whole again', mishap);
  }

  /** Another process in the place of one that is killed. */
  async #replace(teller: Teller): Promise<void> {
    await teller.kill();
    await teller.start();
    teller.order({ do: 'work' });
  }

  async #loseDecision(teller: number, arrives: boolean, forMs: number): Promise<void> {
    const proxy = this.#world.link(teller, 'a');
    let lost: Link | undefined;
    const sent = new Promise<void>((resolve) => {
      proxy.onClientData = (data, link) => {
        if (lost === undefined && data.toString('latin1').includes(DECISION)) {
          lost = link;
          link.dropReplies = true;
          proxy.refuse = true;
          for (const other of proxy.links) if (other !== link) other.cut();
          resolve();
          return arrives;
        }
        return link !== lost;
      };
    });
    await Promise.race([sent, sleep(WAITING_MS)]);
    proxy.onClientData = undefined;
    await sleep(forMs);
    lost?.cut();
    proxy.refuse = false;
  }

  async #spoilLink(fault: Fault, teller: number, server: ServerName, forMs: number): Promise<void> {
    const link = this.#world.link(teller, server);
    switch (fault) {
      case 'cut':
        link.cut();
        break;
      case 'refuse':
        link.refuse = true;
        link.cut();
        await sleep(forMs);
        link.refuse = false;
        break;
      case 'drop': {
        const silenced = [...link.links];
        link.dropReplies();
        await sleep(forMs);
        for (const each of silenced) each.cut();
        break;
      }
      case 'hold':
        link.hold();
        await sleep(forMs);
        link.release();
    }
  }
}

const DECISION = 'insert into unanimous_decision';

/** It may stop itself as long as it hasn't said that it will not. */
async function goOn(teller: Teller): Promise<void> {
  const resuming = setInterval(() => teller.resume(), RESUME_EVERY_MS);
  try {
    await teller.ask({ do: 'stop nowhere' }, 'stopping nowhere');
  } finally {
    clearInterval(resuming);
  }
}

function targetOf(mishap: Mishap): string {
  switch (mishap.kind) {
    case 'kill':
    case 'pause':
    case 'strand':
      return `teller ${mishap.teller}`;
    case 'crash':
      return `server ${mishap.server}`;
    case 'cut':
    case 'refuse':
    case 'drop':
    case 'hold':
      return `link ${mishap.teller} ${mishap.server}`;
    case 'lose decision':
      return `link ${mishap.teller} a`;
    case 'deliver':
      return 'the outbox';
  }
}
