// What goes wrong while clients work: connections are ended by their servers, and processes are killed, at any moment or in the middle of a
// commit over both databases. When, and to whom, is drawn from the seed.
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../soak/random.ts';
import { DATABASES, type DatabaseName } from './history.ts';
import type { ClientProcess } from './processes.ts';
import type { Point } from './setting.ts';
import type { Databases } from './world.ts';

/** Something that goes wrong, `atMs` after the beginning. */
export type Mishap = { readonly atMs: number } & (
  | { readonly kind: 'disconnect'; readonly database: DatabaseName }
  | { readonly kind: 'kill'; readonly process: number; readonly at: Point | 'any moment' }
);

/** What has gone wrong, how often. */
export interface Troubles {
  readonly disconnected: { [D in DatabaseName]: number };
  readonly killed: { [P in Point | 'any moment']: number };
}

const DISCONNECT_EVERY_MS = 400;
/** At most: at least one is killed in each run. */
const KILL_EVERY_MS = 5_000;
const WAITING_MS = 2_000;

export function planTrouble(seed: string, forMs: number, processes: number): Mishap[] {
  const random = new Random(`${seed}/trouble`);
  const times = (meanMs: number): number[] => {
    const found: number[] = [];
    const gap = (): number => random.whole(meanMs / 4, (meanMs * 7) / 4);
    for (let atMs = gap(); atMs < forMs; atMs += gap()) found.push(atMs);
    return found;
  };
  const disconnects = times(DISCONNECT_EVERY_MS).map((atMs): Mishap => {
    return { atMs, kind: 'disconnect', database: random.pick(DATABASES) };
  });
  const kills = times(Math.min(KILL_EVERY_MS, forMs / 2)).map((atMs): Mishap => {
    const at = random.pick(['any moment', 'all prepared', 'decided'] as const);
    return { atMs, kind: 'kill', process: random.whole(0, processes - 1), at };
  });
  return [...disconnects, ...kills].toSorted((one, other) => one.atMs - other.atMs);
}

/** Lets happen what is planned; resolves when whoever was killed is back. */
export async function makeTrouble(
  plan: readonly Mishap[],
  forMs: number,
  databases: Databases,
  processes: readonly ClientProcess[],
): Promise<Troubles> {
  const troubles: Troubles = {
    disconnected: { a: 0, b: 0 },
    killed: { 'all prepared': 0, decided: 0, 'any moment': 0 },
  };
  const startedAt = performance.now();
  const until = (atMs: number): Promise<void> => sleep(Math.max(0, atMs - (performance.now() - startedAt)));
  const isOver = (): boolean => performance.now() - startedAt >= forMs;
  const busy = new Map<ClientProcess, Promise<void>>();
  let kills = 0;

  const kill = async (victim: ClientProcess, at: Point | 'any moment'): Promise<void> => {
    // One at least, however slow the machine is.
    if (isOver() && kills > 0) return;
    kills++;
    const died = at !== 'any moment' && (await victim.die({ do: 'die at', point: at }, WAITING_MS));
    await victim.kill();
    troubles.killed[died ? at : 'any moment']++;
    await victim.start();
    victim.order({ do: 'work' });
  };

  for (const mishap of plan) {
    await until(mishap.atMs);
    if (mishap.kind === 'disconnect') {
      if (await databases.books[mishap.database].disconnectSomebody()) troubles.disconnected[mishap.database]++;
    } else {
      const victim = processes[mishap.process]!;
      const done = (busy.get(victim) ?? Promise.resolve()).then(() => kill(victim, mishap.at));
      busy.set(victim, done);
      // Awaited below.
      done.catch(() => undefined);
    }
  }
  await until(forMs);
  await Promise.all(busy.values());
  return troubles;
}
