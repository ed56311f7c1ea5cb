// The process of one way under load: works when it is asked to, and says what it has kept.
import pg from 'pg';
import { collect, endOf, eventually, kindAt, listenersOf, orderOf, unexpected } from '../leaks/blocks.ts';
import {
  MOST_NAMES,
  type ServerState,
  eachClient,
  listenersOfClient,
  lookAtServer,
  mostPrepared,
  usualListeners,
} from '../leaks/connections.ts';
import { type Finding, atMost, exactly } from '../leaks/report.ts';
import { serve } from '../serve.ts';
import type { EndAnswer, RestAnswer, WorkAnswer, WorkRequest } from './report.ts';
import { COMMITS, type WayName, ways } from './ways.ts';

const [name, url] = process.argv.slice(2) as [WayName, string];

const { pool, pools, kinds } = ways[name](url);
const order = orderOf(kinds);
const endings: Record<string, Record<string, number>> = {};
for (const kind of kinds) endings[kind.name] = {};
let next = 0;
/** Those of the process before the first transaction. */
let listeners: number | undefined;

const untracked = (): void => {};

async function work({ clients, ms }: WorkRequest): Promise<WorkAnswer> {
  listeners ??= listenersOf(process);
  const latencies: number[] = [];
  const first = next;
  const start = performance.now();
  const until = start + ms;
  const loop = async (): Promise<void> => {
    for (let begun = start; begun < until; begun = performance.now()) {
      const kind = kindAt(order, next++);
      const end = await endOf(kind, untracked, next);
      if (kind.name === COMMITS) latencies.push((performance.now() - begun) * 1000);
      const ends = endings[kind.name]!;
      ends[end] = (ends[end] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: clients }, loop));
  return {
    transactions: next - first,
    seconds: (performance.now() - start) / 1000,
    latencies: Float64Array.from(latencies),
  };
}

async function rest(): Promise<RestAnswer> {
  await eventually(() => {}, allIdle);
  return { heap: await collect() };
}

function allIdle(): boolean {
  return pools.every(({ totalCount, idleCount, waitingCount }) => totalCount === idleCount && waitingCount === 0);
}

/** What is left when everybody has ended; the other way must be at rest, too, as it has the same server. */
async function end(): Promise<EndAnswer> {
  const admin = new pg.Pool({ connectionString: url, max: 1 });
  let server: ServerState = await lookAtServer(admin);
  await eventually(
    async () => (server = await lookAtServer(admin)),
    () => allIdle() && server.idleInTransaction === 0,
  );
  await admin.end();
  const count = (of: (each: pg.Pool) => number): number => pools.reduce((sum, each) => sum + of(each), 0);
  const ofClients = await eachClient(pool, listenersOfClient);
  const { named, others } = await mostPrepared(pool);
  const findings: Finding[] = [
    exactly(
      'connections that the pools miss (total but not idle)',
      count((each) => each.totalCount - each.idleCount),
      0,
    ),
    exactly(
      'requests that wait for a connection',
      count(({ waitingCount }) => waitingCount),
      0,
    ),
    exactly('sessions idle in transaction', server.idleInTransaction, 0),
    exactly('prepared transactions', server.prepared, 0),
    atMost('statements prepared on a connection under automatic names', named, MOST_NAMES),
    atMost('other statements prepared on a connection', others, 1),
    // By hand there is one more, which the mix itself adds.
    exactly(
      'listeners of a connection',
      Math.max(...ofClients),
      (await usualListeners(url)) + (name === 'byHand' ? 1 : 0),
    ),
    exactly('listeners on the process', listenersOf(process), listeners ?? 0),
    unexpected(kinds, endings),
  ];
  return { endings, findings };
}

serve({ work, rest, end });
