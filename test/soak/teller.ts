// A process of the bank that makes transfers, as fast as it can, until it is killed. What it says of them is what their callers were told.
import { setTimeout as sleep } from 'node:timers/promises';
import { type DataManager, InDoubtError, type RecoveryReport, type Transaction } from 'unanimous';
import { type Bank, type Desk, bookedText, counterOf, openDesk } from './bank.ts';
import { Random } from './random.ts';
import type { Ended, Order, Point, Setting, Told, Word } from './setting.ts';
import { type Transfer, banksOf, drawTransfer } from './transfer.ts';

const setting = JSON.parse(process.argv[2]!) as Setting;
const random = new Random(`${setting.seed}/${setting.name}/${setting.life}`);
/** No transfer may take longer. */
const DEADLINE_MS = 6_000;
/** After a failure, so that a server that is down isn't asked without a pause. */
const PAUSE_MS = 30;
/** Between two changes of accounts that others want too. */
const HOT_PAUSE_MS = 5;

const say = (word: Word): void => void process.send?.(word);

const desk = openDesk(setting, {
  onError: (error) => say({ is: 'reported', code: codeOf(error), message: error.message }),
  recovery: { onPass: tellOfPass },
});

function tellOfPass({ fenced, committed, rolledBack, delivered }: RecoveryReport): void {
  const counts = {
    fenced: fenced.length,
    committed: committed.length,
    rolledBack: rolledBack.length,
    delivered,
  };
  if (Object.values(counts).some((count) => count > 0)) say({ is: 'recovered', ...counts });
}

/** Only where several are prepared there is a point to stop at. */
function mayStop(transfer: Transfer): boolean {
  return transfer.end === 'commit' && banksOf(transfer).length > 1;
}

/** Joins a commit to stop this process there, once. */
function stopper(point: Point): DataManager {
  const stop = async (): Promise<void> => {
    if (stopAt !== point) return;
    stopAt = undefined;
    await new Promise<void>((resolve) => process.send?.({ is: 'stopping' } satisfies Word, () => resolve()));
    process.kill(process.pid, 'SIGSTOP');
  };
  const nothing = (): void => undefined;
  const calls = { tpcBegin: nothing, commit: nothing, tpcAbort: nothing, abort: nothing };
  // It votes behind all that prepare and before the one that decides, or is the first that is told of the decision.
  return point === 'all prepared'
    ? { ...calls, sortKey: '~~', tpcVote: stop, tpcFinish: nothing }
    : { ...calls, sortKey: '!', tpcVote: nothing, tpcFinish: stop };
}

class OnPurpose extends Error {
  readonly code = 'ON_PURPOSE';
}

/** Where the next transfer is to stop. */
let stopAt: Point | undefined;

async function make(transfer: Transfer): Promise<Ended> {
  const gids: string[] = [];
  const errors = new Set<unknown>();
  let txn: Transaction | undefined;
  const work = async (current: Transaction): Promise<void> => {
    txn = current;
    gids.push(current.id);
    try {
      if (stopAt !== undefined && mayStop(transfer)) current.join(stopper(stopAt));
      await change(desk, transfer, current);
    } catch (error) {
      errors.add(error);
      throw error;
    }
  };
  // A short deadline may end it wherever it is; a statement that takes too long is ended in any case.
  const timeoutMs = transfer.end === 'time out' ? random.whole(5, 60) : DEADLINE_MS;
  try {
    await desk.coordinator.run(work, { attempts: 4, timeoutMs });
  } catch (error) {
    const told = toldBy(error);
    if (told === 'in doubt') {
      const { id } = txn!;
      void txn!.resolved?.then((outcome) => say({ is: 'resolved', gid: id, outcome }));
    }
    const isPending = told === 'committed' || told === 'in doubt';
    const codes = [...errors.add(error)].map(codeOf);
    const { message } = error as Error;
    return { is: 'ended', told, gids, isPending, codes, isHeuristic: isHeuristic(error), message };
  }
  const { way, pendingFinish } = txn!.outcome!;
  const isPending = pendingFinish !== undefined;
  const codes = [...errors].map(codeOf);
  return { is: 'ended', told: 'committed', gids, way, isPending, codes, isHeuristic: false };
}

/** All banks at the same time, the moves of each in their order. */
async function change({ banks, counters }: Desk, transfer: Transfer, { id }: Transaction): Promise<void> {
  const { moves, isCounted, isHot, end } = transfer;
  const text = bookedText(transfer);
  const changeOne = async (bank: Bank): Promise<void> => {
    for (const move of moves) {
      if (move.bank !== bank.name) continue;
      await bank.change(move);
      if (isHot) await sleep(HOT_PAUSE_MS);
    }
    await bank.book(id, text);
  };
  const taking = banksOf(transfer).map((name) => banks.get(name)!);
  await Promise.all(taking.map(changeOne));
  if (isCounted) for (const move of moves) counters!.incr(counterOf(move));
  if (end === 'throw') throw new OnPurpose('thrown when all was done');
  if (end === 'time out' && random.chance(0.5)) await random.pick(taking).sleep();
}

function toldBy(error: unknown): Told {
  // Decided, and somebody has not followed yet.
  if (error instanceof InDoubtError) return error.phase === 'tpcFinish' ? 'committed' : 'in doubt';
  return codeOf(error) === 'ERR_TXN_OUTCOME_UNKNOWN' ? 'unknown' : 'aborted';
}

function codeOf(error: unknown): string {
  const { code, errno, name } = (error ?? {}) as { code?: unknown; errno?: unknown; name?: unknown };
  return String(code ?? errno ?? name);
}

/** Whether somebody has ended a branch otherwise than was decided: among the causes, and what hangs on them, which may lead back. */
function isHeuristic(error: unknown): boolean {
  const errors = new Set([error]);
  for (const each of errors) {
    const { cause, suppressed = [] } = (each ?? {}) as { cause?: unknown; suppressed?: readonly unknown[] };
    for (const further of [cause, ...suppressed]) errors.add(further);
  }
  return [...errors].some((each) => codeOf(each) === 'ERR_TXN_HEURISTIC');
}

let isWorking = false;
let made = 0;

async function work(): Promise<void> {
  while (isWorking) {
    const id = `${setting.name}.${setting.life}.${++made}`;
    const transfer = drawTransfer(random, id, [...desk.banks.keys()], desk.counters !== undefined);
    const ended = await make(transfer);
    say(ended);
    if (ended.told !== 'committed') await sleep(PAUSE_MS);
  }
}

let working: Promise<unknown> = Promise.resolve();
const orders: { [D in Order['do']]: (order: Extract<Order, { do: D }>) => void } = {
  work() {
    if (isWorking) return;
    isWorking = true;
    working = Promise.all(Array.from({ length: setting.atOnce }, work));
  },
  rest() {
    isWorking = false;
    void working.then(() => say({ is: 'resting' }));
  },
  make({ transfer, stopAt: point }) {
    stopAt = point;
    void make(transfer).then(say);
  },
  'stop at'({ point }) {
    stopAt = point;
  },
  'stop nowhere'() {
    stopAt = undefined;
    say({ is: 'stopping nowhere' });
  },
};

process.on('message', (order: Order) => orders[order.do](order as never));
// Lives no longer than the parent.
process.on('disconnect', () => process.exit());
say({ is: 'ready' });
