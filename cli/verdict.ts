/** What the state of a transaction means, and what to do about it: in words. */
import type { Survey, TransactionState } from './survey.ts';
import { age, names, time } from './table.ts';
import { LEFT, UNREACHABLE, WELL } from './exit.ts';

/** A transaction of a living process is that process's business for so long, in milliseconds. */
export const PATIENCE_MS = 60_000;

export interface Verdict {
  /** Whether somebody, or recovery, must do something. */
  readonly inDoubt: boolean;
  /** What it is, in words. */
  readonly reason: string;
  /** What to do; undefined where there is nothing to do. */
  readonly next: string | undefined;
}

/** What follows from all that was seen. */
export function exitCodeOf({ resources, transactions }: Pick<Survey, 'resources' | 'transactions'>): number {
  if (resources.some(({ failure }) => failure !== undefined)) return UNREACHABLE;
  return transactions.some((each) => judge(each).inDoubt) ? LEFT : WELL;
}

export function judge(state: TransactionState): Verdict {
  const verdict = state.branches.length === 0 ? judgeEnded(state) : judgeLeft(state);
  const strangers = state.branches.filter(({ configured }) => !configured).map(({ resource }) => resource);
  if (strangers.length === 0) return verdict;
  const reason = `${verdict.reason}; what is prepared under the name ${names(strangers)} is of no resource configured here`;
  if (!verdict.inDoubt) return { ...verdict, reason };
  const next = `name ${names(strangers)} among the resources, else it can't be ended from here; then: ${verdict.next}`;
  return { inDoubt: true, reason, next };
}

function judgeLeft(state: TransactionState): Verdict {
  const { decision, process } = state;
  if (process === 'living') return judgeLiving(state);
  const left = names(state.branches.map(({ resource }) => resource));
  const ends = decision?.outcome === 'committed' ? `commits ${left}` : `rolls ${left} back`;
  if (process === 'silent') {
    return {
      inDoubt: true,
      reason: `${decided(state)}, and its process has been silent for longer than its lease: it is dead, or paused`,
      next: `npx unanimous recover takes its right to decide away and ${ends}${decision === undefined ? ', unless it decides before' : ''}`,
    };
  }
  const reason =
    decision === undefined
      ? 'it was not decided and its process is gone, so it counts as rolled back'
      : `${decided(state)}, and its process is gone`;
  return { inDoubt: true, reason, next: `npx unanimous recover ${ends}` };
}

function judgeLiving(state: TransactionState): Verdict {
  const { ageMs, decision, gid } = state;
  const left = names(state.branches.map(({ resource }) => resource));
  if (ageMs === undefined || ageMs < PATIENCE_MS) {
    return { inDoubt: false, reason: `under way: ${decided(state)}, and its process is alive`, next: undefined };
  }
  const reason = `${decided(state)}, its process is alive, and has not ended ${left} for ${age(ageMs)}`;
  const command = decision?.outcome === 'committed' ? `commit ${gid}` : `abort ${gid}`;
  const how =
    decision === undefined
      ? `see the log of that process; npx unanimous ${command} --force ends it without it`
      : `see that it can reach ${left}; npx unanimous ${command} tries it from here`;
  return { inDoubt: true, reason, next: how };
}

function decided({ decision }: TransactionState): string {
  if (decision === undefined) return 'it is not decided';
  return `it was decided to be ${decision.outcome === 'committed' ? 'committed' : 'rolled back'} (${time(decision.createdAt)})`;
}

/** Nothing is prepared where it was looked. */
function judgeEnded(state: TransactionState): Verdict {
  const { decision, gid, process, unknown, unreached } = state;
  if (decision === undefined) {
    return {
      inDoubt: false,
      reason: 'nothing is known of it: it has ended everywhere, or never came so far',
      next: undefined,
    };
  }
  if (decision.outcome === 'aborted') {
    const stays = process === 'gone' ? 'recovery deletes that' : 'that stays for as long as its process is registered';
    return { inDoubt: false, reason: `${decided(state)}, and nothing is left; ${stays}`, next: undefined };
  }
  if (unreached.length > 0) {
    return {
      inDoubt: true,
      reason: `${decided(state)}; ${names(unreached)} can't be reached, and may have to follow`,
      next: `npx unanimous recover, once ${names(unreached)} can be reached`,
    };
  }
  if (unknown.length > 0 && process !== 'living') {
    return {
      inDoubt: true,
      reason: `${decided(state)}; ${names(unknown)}, which must follow, ${unknown.length === 1 ? "isn't" : "aren't"} configured here`,
      next: `name ${names(unknown)} among the resources; where that is gone for good: npx unanimous forget ${gid} --force`,
    };
  }
  const deletes =
    process === 'gone' ? 'recovery deletes the decision' : 'its process, or recovery, deletes the decision';
  return { inDoubt: false, reason: `${decided(state)}, and all have followed; ${deletes}`, next: undefined };
}
