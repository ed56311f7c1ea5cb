/** What several commands print, and give to scripts. */
import type { HandActionRow } from '../coordinator/index.ts';
import type { Context } from './command.ts';
import type { ResourceState, Survey, TransactionState } from './survey.ts';
import { age, count, names, table, time } from './table.ts';
import { judge } from './verdict.ts';

/** The transactions, each with what it means below it. */
export function sayTransactions(say: Context['say'], transactions: readonly TransactionState[]): void {
  if (transactions.length === 0) return;
  const rows = transactions.map((each) => [
    each.gid,
    each.node === undefined ? 'gone' : each.process === 'silent' ? `${each.node} (silent)` : each.node,
    each.branches.length === 0 ? '-' : age(each.ageMs),
    each.branches.map(({ resource }) => resource).join(', ') || '-',
    each.decision === undefined ? 'none' : each.decision.outcome === 'committed' ? 'commit' : 'roll back',
  ]);
  const [head, ...lines] = table(['TRANSACTION', 'PROCESS', 'AGE', 'PREPARED', 'DECISION'], rows);
  say(head);
  for (const [index, line] of lines.entries()) {
    const { reason, next } = judge(transactions[index]!);
    say(line);
    say(`    ${reason}`);
    if (next !== undefined) say(`    next: ${next}`);
  }
}

/** Resources that can't be asked, and what that means. */
export function sayUnreached(say: Context['say'], resources: readonly ResourceState[]): void {
  for (const { name, failure } of resources) {
    if (failure !== undefined) say(`${name} can't be asked, so what is prepared there isn't shown: ${failure}`);
  }
}

/** How many there are, and how many need somebody. */
export function saySummary(say: Context['say'], { transactions, resources, isCut }: Survey): void {
  const doubtful = transactions.filter((each) => judge(each).inDoubt).length;
  const rest = transactions.length - doubtful;
  if (transactions.length === 0) say(`nothing is prepared and nothing is decided${unlessHidden(resources)}`);
  else if (doubtful === 0) say(`${count(rest, 'transaction')}, none in doubt${unlessHidden(resources)}: nothing to do`);
  else say(`${count(doubtful, 'transaction')} in doubt, ${rest} not`);
  if (isCut)
    say(
      'there are more decisions than are shown: run npx unanimous recover, which deletes those that all have followed',
    );
}

function unlessHidden(resources: readonly ResourceState[]): string {
  const failed = resources.filter(({ failure }) => failure !== undefined).map(({ name }) => name);
  return failed.length === 0 ? '' : `, as far as can be seen without ${names(failed)}`;
}

/** A transaction for scripts. */
export function transactionJson(state: TransactionState): object {
  const { gid, incarnation, process, node, decision, branches, ageMs } = state;
  return {
    gid,
    incarnation,
    process,
    node: node ?? null,
    ageMs: ageMs === undefined ? null : Math.round(ageMs),
    prepared: branches.map(({ resource, configured, ageMs: each }) => ({
      resource,
      configured,
      ageMs: each === undefined ? null : Math.round(each),
    })),
    decision:
      decision === undefined
        ? null
        : { outcome: decision.outcome, participants: decision.participants, createdAt: decision.createdAt },
    ...jsonOf(judge(state)),
  };
}

function jsonOf({ inDoubt, reason, next }: ReturnType<typeof judge>): object {
  return { inDoubt, reason, next: next ?? null };
}

/** What was done by hand, in a line. */
export function actionText({ action, at, by, forced, message }: HandActionRow): string {
  const what = message === undefined ? '' : ` of message ${message.sequence} to ${message.target}`;
  return `${action}${what} by ${by}, ${time(at)}${forced ? ', forced' : ''}`;
}

/** Resources that can't be asked, for scripts. */
export function unreachedJson(resources: readonly ResourceState[]): object[] {
  return resources.flatMap(({ name, failure }) => (failure === undefined ? [] : [{ resource: name, error: failure }]));
}
