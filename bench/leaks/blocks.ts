// Transactions of many kinds in blocks, with all garbage collected behind each block.
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import type { Transaction } from '../../coordinator/index.ts';
import { type Finding, type LeakRequest, atMost, exactly } from './report.ts';

/** Is told of transactions, to find out later whether they can be collected. */
export type Track = (txn: Transaction) => void;

/** One kind of transaction. */
export type Kind = {
  readonly name: string;
  /** How many of a hundred transactions are of this kind. */
  readonly share: number;
  /** How it may end: `done`, or the name or SQLSTATE of the error. */
  readonly ends: readonly string[];
  readonly one: (track: Track, index: number) => Promise<unknown>;
};

export type Blocks = {
  readonly seconds: number;
  readonly heaps: readonly number[];
  readonly endings: Record<string, Record<string, number>>;
  readonly findings: readonly Finding[];
};

/** What 100,000 transactions may leave is less than a megabyte: as much as noise makes of it. */
const MOST_BYTES = 8;
/** In smaller blocks noise is more than that. */
const ENOUGH_TO_JUDGE = 4_000;
const HUNDRED = 100;
/** Has no divisor in common with a hundred, so that neighbours are of different kinds. */
const STRIDE = 37;
/** One transaction of so many is looked for behind its block; of every kind, for the same reason. */
const SAMPLE = 7;
const COLLECTIONS = 5;
const PATIENCE_MS = 5_000;

/** @param settle is called behind each block: what it waits for is over before the heap is looked at. */
export async function runBlocks(
  request: LeakRequest,
  kinds: readonly Kind[],
  settle: () => Promise<void>,
): Promise<Blocks> {
  const order = orderOf(kinds);
  const endings: Record<string, Record<string, number>> = {};
  for (const { name } of kinds) endings[name] = {};
  const reachable: Record<string, number> = {};
  let samples: { readonly kind: string; readonly ref: WeakRef<Transaction> }[] = [];
  let next = 0;

  const loop = async (until: number): Promise<void> => {
    while (next < until) {
      const index = next++;
      const kind = kindAt(order, index);
      const track: Track =
        index % SAMPLE === 0 ? (txn) => samples.push({ kind: kind.name, ref: new WeakRef(txn) }) : () => {};
      const end = await endOf(kind, track, index);
      const ends = endings[kind.name]!;
      ends[end] = (ends[end] ?? 0) + 1;
    }
  };
  const block = async (count: number): Promise<number> => {
    const until = next + count;
    await Promise.all(Array.from({ length: request.clients }, () => loop(until)));
    await settle();
    await eventually(collect, () => samples.every(({ ref }) => ref.deref() === undefined));
    for (const { kind, ref } of samples) if (ref.deref() !== undefined) reachable[kind] = (reachable[kind] ?? 0) + 1;
    samples = [];
    return collect();
  };

  const start = performance.now();
  const size = Math.ceil(request.transactions / request.blocks);
  const heaps = [await block(request.warmUp)];
  for (let made = 0; made < request.blocks; made++) heaps.push(await block(size));
  const seconds = (performance.now() - start) / 1000;
  return {
    seconds,
    heaps,
    endings,
    findings: [
      heapFinding(slope(heaps) / size, size >= ENOUGH_TO_JUDGE, `in blocks of ${size}`),
      exactly(`finished transactions still reachable${listed(reachable)}`, total(reachable), 0),
      unexpected(kinds, endings),
    ],
  };
}

/** What the heap has grown by; where it isn't to be judged, the finding says why. */
export function heapFinding(bytes: number, isJudged: boolean, why: string): Finding {
  const finding = atMost('heap, bytes a transaction', bytes, MOST_BYTES, 2);
  return isJudged ? finding : { ...finding, allowed: `not judged ${why}`, held: true };
}

/** The kind of the transaction `index`, so that neighbours are of different ones. */
export function kindAt(order: readonly Kind[], index: number): Kind {
  return order[(index * STRIDE) % HUNDRED]!;
}

/** A hundred kinds, as often as their shares say. */
export function orderOf(kinds: readonly Kind[]): Kind[] {
  const order = kinds.flatMap((kind) => Array.from({ length: kind.share }, () => kind));
  if (order.length !== HUNDRED) throw new Error(`shares must add up to ${HUNDRED}, not ${order.length}`);
  return order;
}

export async function endOf({ one }: Kind, track: Track, index: number): Promise<string> {
  try {
    await one(track, index);
    return 'done';
  } catch (error) {
    const { code, name, message } = error as { code?: unknown; name: string; message: string };
    if (name !== 'Error' && name !== 'error') return name;
    return typeof code === 'string' ? code : message;
  }
}

/** Collects all garbage; returns the bytes of heap that are left. */
export async function collect(): Promise<number> {
  for (let time = 0; time < COLLECTIONS; time++) {
    await turn();
    globalThis.gc!();
  }
  return process.memoryUsage().heapUsed;
}

/** Repeats `act` until `isTrue`, for a while at most. */
export async function eventually(act: () => unknown, isTrue: () => boolean): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  await act();
  while (!isTrue() && performance.now() < deadline) {
    await sleep(10);
    await act();
  }
}

/** How much more each number is than the one before, by least squares. */
export function slope(numbers: readonly number[]): number {
  const middle = (numbers.length - 1) / 2;
  const mean = numbers.reduce((sum, each) => sum + each, 0) / numbers.length;
  let above = 0;
  let below = 0;
  for (const [place, number] of numbers.entries()) {
    above += (place - middle) * (number - mean);
    below += (place - middle) ** 2;
  }
  return above / below;
}

export function unexpected(kinds: readonly Kind[], endings: Readonly<Record<string, Record<string, number>>>): Finding {
  const others: Record<string, number> = {};
  for (const { name, ends } of kinds) {
    for (const [end, count] of Object.entries(endings[name]!)) {
      if (!ends.includes(end)) others[`${name}: ${end}`] = count;
    }
  }
  return exactly(`transactions that ended otherwise than expected${listed(others)}`, total(others), 0);
}

function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, each) => sum + each, 0);
}

function listed(counts: Readonly<Record<string, number>>): string {
  const all = Object.entries(counts);
  return all.length === 0 ? '' : ` (${all.map(([name, count]) => `${name}: ${count}`).join('; ')})`;
}

/** How many listeners an emitter has, of all events together. */
export function listenersOf(emitter: NodeJS.EventEmitter): number {
  return emitter.eventNames().reduce((sum, name) => sum + emitter.listenerCount(name), 0);
}

/** What keeps the event loop going, such as `2 TCPSocketWrap`, in order. */
export function activeResources(): string {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  const all = [...counts].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return all.map(([kind, count]) => `${count} ${kind}`).join(', ') || 'none';
}

/** Waits until what keeps the event loop going is as it was before. */
export async function resourcesAsBefore(before: string): Promise<Finding> {
  let found = '';
  await eventually(
    () => (found = activeResources()),
    () => found === before,
  );
  return { title: 'active resources', found, allowed: before, held: found === before };
}
