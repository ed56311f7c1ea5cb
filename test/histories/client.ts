// A process of clients: makes transactions as fast as it can until it is told to rest, or is killed, and writes down what becomes of them.
import { setTimeout as sleep } from 'node:timers/promises';
import { type DataManager, TransactionCoordinator } from 'unanimous';
import { MysqlDecisionLog } from 'unanimous/mysql';
import { PgDecisionLog } from 'unanimous/pg';
import { Random } from '../soak/random.ts';
import type { Ending } from './history.ts';
import { codeOf, perform } from './perform.ts';
import { mariadbPlace, postgresPlace } from './places.ts';
import { Recorder } from './record.ts';
import { type Order, type Point, type Setting, type Word, now } from './setting.ts';
import { type Plan, drawPlan, readBack } from './workload.ts';

const setting = JSON.parse(process.argv[2]!) as Setting;
const { name, life, isolation, product, urls, store, leaseMs } = setting;
const random = new Random(`${setting.seed}/${name}/${life}`);
const recorder = new Recorder(setting.file);
/** No transaction may take longer. */
const DEADLINE_MS = 5_000;
/** After a failure, so that nobody who is away is asked without a pause. */
const PAUSE_MS = 20;

const say = (word: Word): void => void process.send?.(word);

const coordinator = new TransactionCoordinator({ app: `h-${store}`, node: name });
const a = postgresPlace('a', urls.a, coordinator);
const atB = product === 'postgres' ? postgresPlace('b', urls.b, coordinator) : undefined;
const b = atB ?? mariadbPlace('b', urls.b, coordinator);
const places = { a, b };

coordinator.configure({
  decisionLog: logIn(),
  decisionTimeoutMs: 1_500,
  recovery: {
    leaseMs,
    everyMs: leaseMs / 4,
    onPass({ fenced, committed, rolledBack }) {
      const counts = { fenced: fenced.length, committed: committed.length, rolledBack: rolledBack.length };
      if (Object.values(counts).some((count) => count > 0)) recorder.write({ at: 'recovered', ...counts });
    },
  },
  onError: (error) => recorder.write({ at: 'reported', code: codeOf(error), message: error.message }),
});

/** The decisions, under names that no other store in the same database has. */
function logIn(): PgDecisionLog | MysqlDecisionLog {
  const options = { tablePrefix: `h_${store}_`, timeoutMs: 1_500 };
  if (store === 'a') return new PgDecisionLog(a.session, options);
  if (store === 'apart') return new PgDecisionLog(postgresPlace('apart', urls.apart, coordinator).session, options);
  return atB === undefined ? new MysqlDecisionLog(mariadbSession(), options) : new PgDecisionLog(atB.session, options);
}

function mariadbSession(): ConstructorParameters<typeof MysqlDecisionLog>[0] {
  return (b as ReturnType<typeof mariadbPlace>).session;
}

/** Where this process is to be gone. */
let dieAt: Point | undefined;

/** Joins a commit to kill this process there. */
function killer(point: Point, attempt: string): DataManager {
  const die = (): void => {
    if (dieAt !== point) return;
    recorder.write({ at: 'dies', id: attempt });
    process.kill(process.pid, 'SIGKILL');
  };
  const nothing = (): void => undefined;
  const savepoint = (): { rollback(): void } => ({ rollback: nothing });
  const calls = { tpcBegin: nothing, commit: nothing, tpcAbort: nothing, abort: nothing, savepoint };
  // It votes behind all that prepare and before the one that decides, or is the first that is told of the decision.
  return point === 'all prepared'
    ? { ...calls, sortKey: '~~', tpcVote: die, tpcFinish: nothing }
    : { ...calls, sortKey: '!', tpcVote: nothing, tpcFinish: die };
}

class OnPurpose extends Error {
  readonly code = 'ON_PURPOSE';
}

let isWorking = false;
let made = 0;

async function work(): Promise<void> {
  while (isWorking) {
    const plan = drawPlan(random, { isolation, product, atMs: now() - setting.startedAt });
    const ending = await make(plan);
    if (ending !== 'committed') await sleep(PAUSE_MS);
    else if (random.chance(0.2)) await make(readBack(plan.steps));
  }
}

function make({ steps, end, readOnly, deferrable }: Plan): Promise<Ending> {
  const changed = steps.filter((step) => step.do !== 'read').map(({ database }) => database);
  return perform({
    id: `${name}.${life}.${++made}`,
    coordinator,
    places,
    recorder,
    steps,
    options: {
      isolation,
      readOnly,
      deferrable,
      attempts: 5,
      timeoutMs: end === 'time out' ? random.whole(3, 25) : DEADLINE_MS,
    },
    before: (txn, attempt) => {
      if (dieAt !== undefined && new Set(changed).size > 1 && end === 'commit') txn.join(killer(dieAt, attempt));
    },
    after: () => {
      if (end === 'throw') throw new OnPurpose('thrown when all was done');
    },
  });
}

let working: Promise<unknown> = Promise.resolve();

process.on('message', (order: Order) => {
  switch (order.do) {
    case 'work':
      isWorking = true;
      working = Promise.all(Array.from({ length: setting.atOnce }, work));
      break;
    case 'rest':
      isWorking = false;
      void working.then(() => say('resting'));
      break;
    case 'die at':
      dieAt = order.point;
  }
});
// Lives no longer than the parent.
process.on('disconnect', () => process.exit());
say('ready');
