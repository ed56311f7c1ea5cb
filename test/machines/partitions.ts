// Partitions: what an application was doing when packets began to vanish, which ones, and when they arrive again. Each has a machine of
// its own with the application; all share the databases, and another application that nothing happens to, whose recovery takes over.
import { setTimeout as sleep } from 'node:timers/promises';
import { check } from '../soak/checks.ts';
import type { BankState } from '../soak/ledgers.ts';
import type { BankName } from '../soak/setting.ts';
import type { Move } from '../soak/transfer.ts';
import { Application, PATIENCE_MS } from './applications.ts';
import type { Ended, Point } from './messages.ts';
import type { Host } from './network.ts';
import { ask } from './servers.ts';
import type { Site } from './site.ts';

export const LEASE_MS = 2_000;
const LOOK_EVERY_MS = 50;
const FLAPS = 8;
const FLAP_MS = 120;

export interface Partition {
  readonly name: string;
  /** Where its transfers wait when it begins. */
  readonly at: Point;
  /** From which databases the application is cut off. */
  readonly from: readonly BankName[];
  /** What is lost: all packets; those to the databases; those from there; all, but for moments. */
  readonly loses: 'all' | 'requests' | 'replies' | 'flapping';
  /** When it is healed: when callers were told, or when the other application has ended what was prepared. */
  readonly until: 'told' | 'taken over';
  /** The process stands still besides, from before the partition until after it. */
  readonly paused?: boolean;
  /** The other application is cut off from these when it takes over, and healed in the middle of that. */
  readonly othersFrom?: readonly BankName[];
}

/** What came of a partition. */
export interface Outcome {
  readonly partition: Partition;
  readonly ended: readonly Ended[];
}

/** The pairs of banks between which there is a transfer: with the decision in one of them, and apart. */
const PAIRS: readonly (readonly [BankName, BankName])[] = [
  ['a', 'b'],
  ['a', 'c'],
  ['b', 'c'],
];

/** Runs partitions, all at once, each on accounts of its own; resolves with what is wrong when all has come to rest. */
export async function runPartitions(
  site: Site,
  other: Application,
  partitions: readonly Partition[],
): Promise<{ readonly outcomes: readonly Outcome[]; readonly wrong: readonly string[] }> {
  const applications: Application[] = [];
  const others = site.hostsOf(['a', 'b', 'c']);
  try {
    const outcomes = await Promise.all(
      partitions.map(async (partition, index) => {
        const host = await site.network.add(partition.name);
        const application = await Application.start(host, { urls: site.urls, leaseMs: LEASE_MS });
        applications.push(application);
        const ended = await runOne(site, application, other, partition, index * 2 + 1);
        return { partition, ended };
      }),
    );
    await site.network.heal(other.host, others);
    const wrong = await atRest(site, [...applications, other]);
    return { outcomes, wrong };
  } finally {
    await Promise.all(applications.map((application) => application.kill()));
  }
}

async function runOne(
  site: Site,
  application: Application,
  other: Application,
  { name, at, from, loses, until, paused, othersFrom }: Partition,
  account: number,
): Promise<readonly Ended[]> {
  const { network } = site;
  const hosts = site.hostsOf(from);
  const ids = PAIRS.map(([give, get]) => `${name}/${give}${get}`);
  for (const [index, [give, get]] of PAIRS.entries()) {
    await application.make({ id: ids[index]!, moves: movesOf(give, get, account, index), waitAt: at });
  }
  if (othersFrom !== undefined) await network.cut(other.host, site.hostsOf(othersFrom));
  if (paused === true) application.pause();
  await begin(site, application.host, hosts, loses);
  for (const id of ids) application.goOn(id);
  const flapping = loses === 'flapping' ? flap(site, application.host, hosts) : Promise.resolve();
  const told = Promise.all(ids.map((id) => application.end(id)));
  told.catch(() => undefined);
  if (paused !== true && until === 'told') await told;
  if (until === 'taken over') await takenOver(site, other, application, othersFrom);
  await flapping;
  await network.heal(application.host, hosts);
  if (paused === true) application.resume();
  return await told;
}

/** Between two accounts that no other partition has; each pair in a place of its own among them. */
function movesOf(give: BankName, get: BankName, account: number, index: number): Move[] {
  const own = ((account + index * 20) % 60) + 1;
  return [
    { bank: give, account: own, amount: -1 },
    { bank: get, account: own, amount: 1 },
  ];
}

async function begin(site: Site, one: Host, hosts: readonly Host[], loses: Partition['loses']): Promise<void> {
  for (const host of hosts) {
    if (loses !== 'replies') await site.network.lose(one, host);
    if (loses !== 'requests') await site.network.lose(host, one);
  }
}

async function flap(site: Site, one: Host, hosts: readonly Host[]): Promise<void> {
  for (let time = 0; time < FLAPS; time++) {
    await site.network.heal(one, hosts);
    await sleep(FLAP_MS);
    await site.network.cut(one, hosts);
    await sleep(FLAP_MS);
  }
}

/** Waits until the other application has taken this one for dead and ended what it had prepared. */
async function takenOver(
  site: Site,
  other: Application,
  application: Application,
  othersFrom: readonly BankName[] | undefined,
): Promise<void> {
  const { incarnation } = application;
  // By whichever other one is first.
  const registered = `select from unanimous_node where incarnation = '${incarnation}'`;
  await eventually(`${application.host.name} must be taken for dead`, async () => {
    return (await ask(site.servers.a, registered, 'bank')).length === 0;
  });
  const left = async (banks?: readonly BankName[]): Promise<number> =>
    (await site.prepared(banks)).filter((gid) => gid.includes(incarnation)).length;
  if (othersFrom !== undefined) {
    const reached = (['a', 'b', 'c'] as const).filter((bank) => !othersFrom.includes(bank));
    await eventually('half of it must be ended', async () => (await left(reached)) === 0);
    if ((await left(othersFrom)) === 0) throw new Error('nothing was left where the other one was cut off');
    await site.network.heal(other.host, site.hostsOf(othersFrom));
  }
  await eventually('all of it must be ended', async () => (await left()) === 0);
}

export async function eventually(what: string, isSo: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + PATIENCE_MS; !(await isSo()); await sleep(LOOK_EVERY_MS)) {
    if (performance.now() > end) throw new Error(`${what}, but that isn't so within ${PATIENCE_MS} ms`);
  }
}

/** What is looked at from outside. */
export interface Books {
  prepared(): Promise<string[]>;
  decisions(): Promise<string[]>;
  read(): Promise<ReadonlyMap<BankName, BankState>>;
}

/** Waits until nothing is prepared, decided or in doubt, and says what is wrong then. */
export async function atRest(site: Books, applications: readonly Application[]): Promise<string[]> {
  const doubts = (): string[] =>
    applications.flatMap(({ ended, resolved }) =>
      [...ended.values()].filter(({ told, id }) => told === 'in doubt' && !resolved.has(id)).map(({ id }) => id),
    );
  await eventually('all must come to rest', async () => {
    const left = [await site.prepared(), await site.decisions(), doubts()];
    return left.flat().length === 0;
  }).catch(() => undefined);
  const committed = new Set<string>();
  const aborted = new Set<string>();
  for (const { ended, resolved } of applications) {
    for (const { id, gid, told } of ended.values()) {
      const said = told === 'in doubt' ? resolved.get(id) : told;
      if (said === 'committed') committed.add(gid);
      if (said === 'aborted') aborted.add(gid);
    }
  }
  const state = { banks: await site.read(), decisions: await site.decisions(), outbox: [], counters: undefined };
  const heuristics = applications.flatMap(({ reported }) => reported.filter((code) => code === 'ERR_TXN_HEURISTIC'));
  const heard = { committed, aborted, doubts: doubts(), heuristics, deaths: [] };
  return check(state, heard).map(({ rule, what }) => `${rule}: ${what}`);
}
