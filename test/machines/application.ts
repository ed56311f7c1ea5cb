// The application on one of the machines: makes the transfers that it is told to, of the bank of the soak, waits in their commits where it
// was told to, and says what their callers were told. Recovery runs in it.
import { type DataManager, InDoubtError, type Transaction } from 'unanimous';
import { bookedText, openDesk } from '../soak/bank.ts';
import type { Setting } from '../soak/setting.ts';
import { banksOf } from '../soak/transfer.ts';
import type { Ended, Make, Order, Point, Told, Word } from './messages.ts';

const say = (word: Word): void => void process.send?.(word);

const desk = openDesk(JSON.parse(process.argv[2]!) as Setting, {
  onError: (error) => say({ is: 'reported', code: codeOf(error), message: error.message }),
  recovery: {
    onPass({ fenced, committed, rolledBack }) {
      const ended = committed.length + rolledBack.length;
      if (fenced.length + ended > 0) say({ is: 'recovered', fenced, ended });
    },
  },
});

/** Transfers that wait to be told to go on. */
const waiting = new Map<string, () => void>();

/** Joins a commit to wait there. */
function waiter(point: Exclude<Point, 'before commit'>, wait: () => Promise<void>): DataManager {
  const nothing = (): void => undefined;
  const calls = { tpcBegin: nothing, commit: nothing, tpcVote: nothing, tpcFinish: nothing };
  const ends = { tpcAbort: nothing, abort: nothing };
  switch (point) {
    case 'before prepare':
      return { ...calls, ...ends, sortKey: '~~', commit: wait };
    case 'all prepared':
      // Votes behind all that prepare and before the one that decides.
      return { ...calls, ...ends, sortKey: '~~', tpcVote: wait };
    case 'decided':
      // The first that is told of the decision.
      return { ...calls, ...ends, sortKey: '!', tpcFinish: wait };
  }
}

async function make({ id, moves, waitAt, timeoutMs }: Make): Promise<Ended> {
  let txn: Transaction | undefined;
  let startedAt = performance.now();
  const transfer = { id, moves, isCounted: false };
  const work = async (current: Transaction): Promise<void> => {
    txn = current;
    const wait = async (): Promise<void> => {
      await new Promise<void>((resolve) => {
        waiting.set(id, resolve);
        say({ is: 'waiting', id, gid: current.id });
      });
      startedAt = performance.now();
    };
    if (waitAt !== undefined && waitAt !== 'before commit') current.join(waiter(waitAt, wait));
    await Promise.all(
      banksOf(transfer).map(async (name) => {
        const bank = desk.banks.get(name)!;
        for (const move of moves) if (move.bank === name) await bank.change(move);
        await bank.book(current.id, bookedText({ ...transfer, isHot: false, end: 'commit' }));
      }),
    );
    if (waitAt === 'before commit') await wait();
  };
  const ended = (told: Told, error?: Error): Ended => {
    const { way, pendingFinish = [] } = txn?.outcome ?? {};
    const ms = Math.round(performance.now() - startedAt);
    const common = { is: 'ended', id, gid: txn?.id ?? '', told, ms, way, pending: pendingFinish } as const;
    if (error === undefined) return common;
    return { ...common, error: { name: error.name, code: codeOf(error), message: error.message } };
  };
  try {
    await desk.coordinator.run(work, { attempts: 1, timeoutMs });
    return ended('committed');
  } catch (thrown) {
    const error = thrown as Error;
    if (toldBy(error) === 'in doubt') void txn!.resolved?.then((outcome) => say({ is: 'resolved', id, outcome }));
    return ended(toldBy(error), error);
  }
}

function toldBy(error: Error): Told {
  if (error instanceof InDoubtError) return error.phase === 'tpcFinish' ? 'committed' : 'in doubt';
  return codeOf(error) === 'ERR_TXN_OUTCOME_UNKNOWN' ? 'unknown' : 'aborted';
}

function codeOf(error: Error): string {
  return (error as { code?: string }).code ?? error.name;
}

process.on('message', (order: Order) => {
  if (order.do === 'make') void make(order).then(say);
  else waiting.get(order.id)!();
});
// Lives no longer than the parent.
process.on('disconnect', () => process.exit());
say({ is: 'ready' });
