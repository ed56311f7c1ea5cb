/** Data managers that fail where they are told to, to see what becomes of the others. */
import { ConfigurationError, describe } from '../../coordinator/errors.ts';
import { aBoolean, aCount, aDelay, checkOptions, oneOf, type Rule, type Rules } from '../../coordinator/options.ts';
import type { DataManager } from '../../coordinator/types.ts';
import { type DataManagerPhase, intercept } from './intercept.ts';
import { RecordingDataManager, type RecordingOptions } from './recording.ts';

/** What goes wrong, and where. Without `delayMs` and `hang`, and where `error` is given, the phase fails. */
export interface Fault {
  /** The call in which it goes wrong. */
  phase: DataManagerPhase;
  /** What the call rejects with; default an `Error` that names the phase. Throw a `TransientError` to be tried again. */
  error?: unknown;
  /** Answers only after so many milliseconds; then it works, unless `error` is given too. */
  delayMs?: number | undefined;
  /** Never answers. */
  hang?: boolean | undefined;
  /** The real call is made first, and its answer lost: as when a reply doesn't arrive. Default false: it isn't made. */
  after?: boolean | undefined;
  /** How many calls go wrong, from the first one on; default all. */
  times?: number | undefined;
}

const anything: Rule = { requires: 'anything', accepts: () => true };

const faultRules: Rules<Fault> = {
  phase: oneOf('tpcBegin', 'commit', 'tpcVote', 'tpcFinish', 'tpcAbort', 'abort', 'savepoint', 'rollback', 'hold'),
  error: anything,
  delayMs: aDelay,
  hang: aBoolean,
  after: aBoolean,
  times: aCount,
};

/**
 * Makes a data manager faulty, in place, so that one which has joined by itself can be too: `faulty(txn.joined(session), …)`.
 *
 * @returns the data manager.
 * @throws ConfigurationError for a fault that is none, or in a phase that the data manager doesn't have.
 */
export function faulty<D extends DataManager>(manager: D | undefined, ...faults: readonly Fault[]): D {
  if (manager === undefined) {
    throw new ConfigurationError(
      'faulty() takes a data manager, not undefined: a session has one in a transaction once it has joined it',
    );
  }
  for (const fault of faults) {
    checkFault(manager, fault);
    const goesWrong = faultOf(fault);
    intercept(manager, (phase, proceed) => (phase === fault.phase ? goesWrong(proceed) : proceed()));
  }
  return manager;
}

function checkFault(manager: DataManager, fault: Fault): void {
  checkOptions('a fault', fault, faultRules);
  const method = fault.phase === 'rollback' ? 'savepoint' : fault.phase;
  if (typeof manager[method] === 'function') return;
  throw new ConfigurationError(
    `a fault must be in a phase that the data manager has; ${describe(manager)} has no method ${method}, so ${describe(fault.phase)} would never fail`,
  );
}

/** What stands in for the call: the fault for as often as it is to happen, then the call itself. */
function faultOf(fault: Fault): (proceed: () => unknown) => unknown {
  let left = fault.times ?? Infinity;
  return (proceed) => (left-- > 0 ? goWrong(fault, proceed) : proceed());
}

async function goWrong(fault: Fault, proceed: () => unknown): Promise<unknown> {
  const answer = fault.after === true ? await proceed() : undefined;
  if (fault.hang === true) return await new Promise<never>(() => undefined);
  if (fault.delayMs !== undefined) {
    await new Promise<void>((resolve) => {
      setTimeout(resolve, fault.delayMs);
    });
    if (!('error' in fault)) return fault.after === true ? answer : await proceed();
  }
  throw 'error' in fault ? fault.error : new Error(`a fault was injected into ${fault.phase}`);
}

/** A data manager without a resource, with faults: for seeing that the others are undone, or finish, all the same. */
export class FaultyDataManager extends RecordingDataManager {
  /**
   * @param faults one or several.
   * @param options what it does besides, and its place among the others; its name is `faulty` by default.
   * @throws ConfigurationError as {@link faulty} does, and for unknown or impossible options.
   */
  constructor(faults: Fault | readonly Fault[], options: RecordingOptions = {}) {
    const all = Array.isArray(faults) ? (faults as readonly Fault[]) : [faults as Fault];
    // In what it does rather than around it, so that a call that fails is in the log.
    super({ name: 'faulty', ...options, does: withFaults(options.does, all) });
    for (const fault of all) checkFault(this, fault);
  }
}

type Does = NonNullable<RecordingOptions['does']>;

function withFaults(does: RecordingOptions['does'], faults: readonly Fault[]): Does {
  const all: { -readonly [P in keyof Does]: Does[P] } = { ...does };
  for (const fault of faults) {
    const inner = all[fault.phase];
    const goesWrong = faultOf(fault);
    all[fault.phase] = (txn) => goesWrong(() => inner?.(txn));
  }
  return all;
}
