// Makes one transaction through the library, and writes down each attempt of it.
import { subscribe } from 'node:diagnostics_channel';
import { setTimeout as sleep } from 'node:timers/promises';
import { type RunOptions, InDoubtError, type Transaction, type TransactionCoordinator } from 'unanimous';
import type { DatabaseName, Ending, Step } from './history.ts';
import type { Place } from './places.ts';
import type { Recorder } from './record.ts';
import type { PlannedStep } from './workload.ts';

export interface Performed {
  readonly id: string;
  readonly coordinator: TransactionCoordinator;
  readonly places: { readonly [D in DatabaseName]: Place };
  readonly recorder: Recorder;
  readonly steps: readonly PlannedStep[];
  readonly options: RunOptions;
  /** Called in each attempt before its steps, and before a step, by its index. */
  readonly before?: (txn: Transaction, attempt: string) => unknown;
  readonly beforeStep?: (index: number, txn: Transaction) => unknown;
  /** Called when all steps are done. */
  readonly after?: (txn: Transaction) => unknown;
}

class TakenBack extends Error {}

/** Why transactions are tried again, which `run` tells nobody else. */
const whyAgain = new WeakMap<Transaction, Error>();
subscribe('unanimous:retry', (event) => {
  const { transaction, error } = event as { transaction: Transaction; error: Error };
  whyAgain.set(transaction, error);
});

/** Runs it until it has ended, with as many attempts as it takes; how it ended. */
export async function perform(performed: Performed): Promise<Ending> {
  const { id, coordinator, recorder, options } = performed;
  const isDeferrable = options.deferrable === true;
  let current: { id: string; steps: Step[]; txn: Transaction } | undefined;
  const work = async (txn: Transaction): Promise<void> => {
    // Nothing is left of the one before, or it would not be tried again.
    if (current !== undefined)
      recorder.told(current.id, 'aborted', current.steps, { ...why(whyAgain.get(current.txn)), isDeferrable });
    const attempt = `${id}.${txn.attempt}`;
    const { steps, at } = stepsOf(performed.steps, attempt);
    current = { id: attempt, steps, txn };
    recorder.invoked(attempt, steps);
    await performed.before?.(txn, attempt);
    for (const [index, planned] of performed.steps.entries()) {
      await performed.beforeStep?.(index, txn);
      if (planned.pauseMs > 0) await sleep(planned.pauseMs);
      await performStep(performed, planned, steps, at[index]!);
    }
    await performed.after?.(txn);
  };
  try {
    await coordinator.run(work, options);
  } catch (error) {
    // Before the first attempt there is nothing to tell of.
    if (current === undefined) return 'aborted';
    const { id: attempt, steps, txn } = current;
    const ending = endingOf(error);
    if (ending === 'unknown')
      void txn.resolved?.then((outcome) => recorder.write({ at: 'resolved', id: attempt, outcome }));
    recorder.told(attempt, ending, steps, { ...why(error), isDeferrable, isPending: true });
    return ending;
  }
  const { id: attempt, steps, txn } = current!;
  const { way, pendingFinish } = txn.outcome!;
  recorder.told(attempt, 'committed', steps, { way, isDeferrable, isPending: pendingFinish !== undefined });
  return 'committed';
}

/** What is asked for in this attempt, with values that no other one has; and where each planned step begins in it. */
function stepsOf(planned: readonly PlannedStep[], attempt: string): { steps: Step[]; at: number[] } {
  const steps: Step[] = [];
  const at: number[] = [];
  for (const [index, { do: action, database, key }] of planned.entries()) {
    at.push(steps.length);
    if (action === 'read' || action === 'rewrite') steps.push({ do: 'read', database, key });
    if (action === 'read') continue;
    const append = { do: 'append', database, key, value: `${attempt}:${index}` } as const;
    steps.push(action === 'undo' ? { ...append, isUndone: true } : append);
  }
  return { steps, at };
}

async function performStep(
  { places, coordinator }: Performed,
  planned: PlannedStep,
  steps: Step[],
  at: number,
): Promise<void> {
  const { database, key } = planned;
  const place = places[database];
  const valueOf = (step: Step | undefined): string => (step?.do === 'append' ? step.value : '');
  switch (planned.do) {
    case 'read':
      steps[at] = { do: 'read', database, key, values: await place.read(key) };
      break;
    case 'append':
      await place.append(key, valueOf(steps[at]));
      break;
    case 'rewrite': {
      const values = await place.read(key);
      steps[at] = { do: 'read', database, key, values };
      await place.rewrite(key, [...values, valueOf(steps[at + 1])]);
      break;
    }
    case 'undo': {
      const takenBack = new TakenBack('taken back by its savepoint');
      const undone = async (): Promise<void> => {
        await place.append(key, valueOf(steps[at]));
        throw takenBack;
      };
      await coordinator.run(undone, { propagation: 'nested' }).catch((error: unknown) => {
        if (error !== takenBack) throw error;
      });
    }
  }
}

function endingOf(error: unknown): Ending {
  // Decided, and somebody has not followed yet.
  if (error instanceof InDoubtError) return error.phase === 'tpcFinish' ? 'committed' : 'unknown';
  return codeOf(error) === 'ERR_TXN_OUTCOME_UNKNOWN' ? 'unknown' : 'aborted';
}

function why(error: unknown): { code: string; message: string } {
  return { code: codeOf(error), message: error instanceof Error ? error.message : String(error) };
}

export function codeOf(error: unknown): string {
  const { code, errno, name } = (error ?? {}) as { code?: unknown; errno?: unknown; name?: unknown };
  return String(code ?? errno ?? name);
}
