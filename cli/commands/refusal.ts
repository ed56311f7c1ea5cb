/** What may not be decided by hand, or only by force, and why. */
import type { DecidedOutcome } from '../../coordinator/index.ts';
import type { Context } from '../command.ts';
import { CommandError } from '../exit.ts';
import { actionText } from '../print.ts';
import { ofStore, type Survey, type TransactionState } from '../survey.ts';
import { time } from '../table.ts';

/** An outcome in the words of a person. */
export function inWords(outcome: DecidedOutcome): string {
  return outcome === 'committed' ? 'committed' : 'rolled back';
}

/** @throws CommandError where it was decided otherwise, whatever is forced. */
export async function refuseContradiction(
  wanted: DecidedOutcome,
  { gid, decision }: TransactionState,
  { deployment, secrets }: Context,
): Promise<void> {
  if (decision === undefined || decision.outcome === wanted) return;
  const actions = await ofStore(deployment, secrets, (log) => log.handActions(gid));
  const other = wanted === 'committed' ? 'abort' : 'commit';
  throw new CommandError(
    'refused',
    `${gid} was decided to be ${inWords(decision.outcome)} (${time(decision.createdAt)}), and a decision can't be changed, as some of it may have followed: nothing was done`,
    [
      ...actions.map((each) => `by hand: ${actionText(each)}`),
      `npx unanimous ${other} ${gid} ends what is left as decided`,
    ],
  );
}

/** @throws CommandError where there is nothing that could be committed, whatever is forced. */
export function refuseNothing({ gid, branches }: TransactionState, found: Survey): void {
  const isSeen = found.resources.every(({ failure }) => failure === undefined);
  if (branches.length > 0 || !isSeen) return;
  throw new CommandError(
    'refused',
    `nothing of ${gid} is prepared, and it was not decided to commit: nothing was done`,
    [
      'it has ended: all of it was committed and the decision deleted, or it was rolled back; only the data tells which',
    ],
  );
}

/** @throws CommandError because what nobody has decided counts as rolled back. */
export function refuseUndecidedCommit({ gid, branches, node, process }: TransactionState, found: Survey): void {
  const prepared = branches.map(({ resource }) => resource);
  const others = found.resources.map(({ name }) => name).filter((name) => !prepared.includes(name));
  const isAlive = process === 'living';
  const rollBack = isAlive ? `npx unanimous abort ${gid} --force` : 'npx unanimous recover';
  throw new CommandError('refused', `${gid} is not decided, so it counts as rolled back: nothing was done`, [
    `prepared: ${prepared.join(', ') || 'nothing'}; not prepared: ${others.join(', ') || 'none of the resources'}`,
    ...(isAlive ? [`its process is alive (${node}), and may be rolling it back`] : []),
    'to commit it makes half of it final, if anything else took part: a resource that has not prepared, or was rolled back',
    'already; the database of the decision store, which never prepares; what it would have sent',
    `to roll it back: ${rollBack}`,
    `to commit it, if you know that what is prepared is all of it: npx unanimous commit ${gid} --force`,
  ]);
}

/** @throws CommandError where its process may still decide otherwise. */
export function refuseLivingAbort({ gid, node, process }: TransactionState): void {
  if (process !== 'living') return;
  throw new CommandError(
    'refused',
    `the process of ${gid} is alive (${node}), and may still decide to commit it: nothing was done`,
    [
      'see the log of that process',
      `to decide before it does, so that it rolls back too: npx unanimous abort ${gid} --force`,
    ],
  );
}
