// Run, paused and killed by the crash matrix: commits transactions over two databases, each by a coordinator of its own, and stops
// where it was told to. What happens to it then is up to the parent.
import { type DataManager, type Transaction, type TransactionCoordinator, InDoubtError } from 'unanimous';
import type { Order, Point, Task, Told, Word } from './messages.ts';
import { type Opened, open } from './resources.ts';

const say = (word: Word): void => void process.send?.(word);

/** What waits for leave to go on. */
const waiting: (() => void)[] = [];
const processes = new Map<string, Opened>();

/** A data manager without a database, which acts in some of its calls. */
function bystander(sortKey: string, acts: Partial<DataManager>): DataManager {
  const nothing = (): void => undefined;
  const calls = { tpcBegin: nothing, commit: nothing, tpcVote: nothing, tpcFinish: nothing };
  return { sortKey, ...calls, tpcAbort: nothing, abort: nothing, ...acts };
}

/** Joins what stops the commit: something that is called before the databases in each phase, and something behind them. */
function stop({ name, stopAt, votesNo }: Task, txn: Transaction): void {
  let wasThere = false;
  const at = (point: Point) => (): Promise<void> | undefined => {
    if (point !== stopAt || wasThere) return undefined;
    wasThere = true;
    say({ name, is: 'at', point, gid: txn.id });
    return new Promise((resolve) => waiting.push(resolve));
  };
  txn.join(bystander('!', { tpcVote: at('before the votes'), tpcFinish: at('decided') }));
  const refuse = (): never => {
    throw new Error('somebody votes no');
  };
  txn.join(
    bystander('~~', {
      tpcVote: votesNo === true ? refuse : at('all prepared'),
      abort: votesNo === true ? at('voted no') : () => undefined,
      tpcFinish: at('followed'),
    }),
  );
}

/** The codes of an error, of its causes, and of the failures that hang on it. */
function codesOf(error: unknown): string[] {
  const { cause, code, suppressed = [] } = (error ?? {}) as { cause?: unknown; code?: unknown; suppressed?: unknown[] };
  if (error === undefined || error === null) return [];
  return [String(code), ...codesOf(cause), ...suppressed.flatMap(codesOf)];
}

async function run({ coordinator, a, b }: Opened, task: Task): Promise<Told> {
  let txn: Transaction | undefined;
  try {
    await coordinator.run(
      async (current) => {
        txn = current;
        await Promise.all([a.write(task.id), b.write(task.id)]);
        stop(task, current);
      },
      { attempts: 1 },
    );
    return { outcome: 'committed', pending: txn!.outcome?.pendingFinish ?? [], codes: [] };
  } catch (error) {
    const isInDoubt = error instanceof InDoubtError || (error as { code?: string }).code === 'ERR_TXN_OUTCOME_UNKNOWN';
    void txn?.resolved?.then((outcome) => say({ name: task.name, is: 'resolved', outcome }));
    return {
      outcome: isInDoubt ? 'in doubt' : 'aborted',
      pending: [],
      codes: codesOf(error),
      error: (error as Error).message,
    };
  }
}

function opened({ name, setting }: Pick<Task, 'name' | 'setting'>): Opened {
  const onError = (error: Error): void =>
    say({ name, is: 'reported', code: String((error as { code?: unknown }).code), message: error.message });
  const process = open(setting, { onError });
  processes.set(name, process);
  return process;
}

const orders: { [D in Order['do']]: (order: Extract<Order, { do: D }>) => void } = {
  run({ tasks }) {
    for (const task of tasks) {
      void run(opened(task), task).then((told) => say({ name: task.name, is: 'told', id: task.id, told }));
    }
  },
  'run again'({ name, id }) {
    const task = { name, id } as Task;
    void run(processes.get(name)!, task).then((told) => say({ name, is: 'told', id, told }));
  },
  'go on'() {
    for (const resolve of waiting.splice(0)) resolve();
  },
  recover({ name, setting }) {
    void recoverForEver(opened({ name, setting }).coordinator);
  },
};

/** One pass behind the other. */
async function recoverForEver(coordinator: TransactionCoordinator): Promise<never> {
  for (;;) {
    await coordinator.recover().catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

process.on('message', (order: Order) => orders[order.do](order as never));
// Lives no longer than the parent.
process.on('disconnect', () => process.exit());
