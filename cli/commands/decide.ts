/**
 * `commit GID` and `abort GID`: an outcome by hand.
 *
 * 1. Refuses what contradicts a decision, and, unless it is forced, what contradicts a process that may still decide, or the rule that what
 *    nobody has decided is rolled back (presumed abort).
 * 2. Writes the decision and the audit in one step of the store, where nothing is decided: from then on processes and recovery follow it.
 * 3. Ends what is prepared, at all resources at once.
 * 4. Looks again, and says what is left: what a resource answers proves nothing.
 */
import type { DecidedOutcome, HandAction } from '../../coordinator/index.ts';
import type { Command, Context, Result } from '../command.ts';
import { CommandError, LEFT, UNREACHABLE, WELL } from '../exit.ts';
import { sayUnreached, transactionJson, unreachedJson } from '../print.ts';
import { ofStore, survey, type Survey, type TransactionState } from '../survey.ts';
import { names, time } from '../table.ts';
import { inWords, refuseContradiction, refuseLivingAbort, refuseNothing, refuseUndecidedCommit } from './refusal.ts';

type Action = 'commit' | 'abort';

const WORDS = {
  commit: { outcome: 'committed', participle: 'committed', ends: 'commits' },
  abort: { outcome: 'aborted', participle: 'rolled back', ends: 'rolls back' },
} as const;

export const commit: Command = {
  name: 'commit',
  takesGid: true,
  takesForce: true,
  summary: 'decides to commit a transaction by hand, and commits what is prepared of it',
  help: `Where it was decided to commit, commits what is left prepared. Where nothing is
decided, that needs --force: what nobody has decided counts as rolled back, so
this makes half a transaction final if something that took part has not
prepared, or was rolled back already. What the transaction has changed in the
database of the decision store itself, and what it would have sent, is never
part of it. With --force it writes the decision first, and who made it, then
commits. A decision that says otherwise is never overridden.`,
  run: (context) => decideByHand('commit', context),
};

export const abort: Command = {
  name: 'abort',
  takesGid: true,
  takesForce: true,
  summary: 'decides to roll a transaction back by hand, and rolls back what is prepared of it',
  help: `Where nothing is decided, writes down that it is rolled back, and who decided
that; then rolls back what is prepared. Where its process is alive, and may
still decide otherwise, that needs --force: the process then finds that it
can't commit, and rolls back too. A decision that says otherwise is never
overridden.`,
  run: (context) => decideByHand('abort', context),
};

async function decideByHand(action: Action, context: Context): Promise<Result> {
  const { deployment, secrets, gid, force, by, say } = context;
  const before = await survey(deployment, secrets, gid);
  const state = before.transactions[0]!;
  await refuseContradiction(WORDS[action].outcome, state, context);
  if (state.decision === undefined) {
    if (action === 'commit') refuseNothing(state, before);
    else if (isOver(state, before)) {
      say('nothing of it is prepared or decided: it has ended, and nothing was done');
      return { exitCode: WELL, json: { ...transactionJson(state), failures: [], unreachable: [] } };
    }
    if (!force && action === 'commit') refuseUndecidedCommit(state, before);
    if (!force) refuseLivingAbort(state);
  }
  sayWhat(action, state, context);
  const decided = await write(action, state, before, context);
  if (decided !== WORDS[action].outcome) {
    throw new CommandError(
      'refused',
      `${gid} was decided to be ${inWords(decided)} at this moment, by somebody else: nothing was done`,
    );
  }
  say(`written down with your name: ${by}`);
  const failures = await endAll(action, state, context);
  return finish(action, context, await survey(deployment, secrets, gid), failures);
}

/** Whether nobody can have anything of it, nor decide it. */
function isOver({ branches, process }: TransactionState, { resources }: Survey): boolean {
  return branches.length === 0 && process === 'gone' && resources.every(({ failure }) => failure === undefined);
}

function sayWhat(action: Action, state: TransactionState, { say }: Context): void {
  const left = names(state.branches.map(({ resource }) => resource));
  const { ends, participle } = WORDS[action];
  if (state.decision !== undefined)
    say(`${state.gid} was decided to be ${participle} (${time(state.decision.createdAt)})`);
  else if (action === 'abort' && state.process === 'gone')
    say(`${state.gid} is not decided and its process is gone, so it counts as rolled back`);
  else say(`${state.gid} is not decided; this decides that it is ${participle}, which can't be changed afterwards`);
  say(left === '' ? 'nothing of it is prepared where it can be looked' : `this ${ends} what is prepared: ${left}`);
  if (state.decision !== undefined || action === 'abort') return;
  if (state.process === 'living')
    say(`its process (${state.node}) is alive: it follows, unless it has rolled its part back before`);
  if (state.process === 'gone') say('its process is gone, so recovery may have rolled some of it back before');
}

/** The decision and the audit, in one step. @returns what is decided. */
async function write(
  action: Action,
  state: TransactionState,
  found: Survey,
  context: Context,
): Promise<DecidedOutcome> {
  const { deployment, secrets, gid, force, by } = context;
  const forced = force && state.decision === undefined;
  const hand: HandAction = { action, by, forced, evenFenced: state.process === 'gone' };
  // All that may have to follow: the decision stays until each of them was asked and has nothing of it.
  const participants = [
    ...new Set(
      [...found.resources, ...state.branches.map(({ resource }) => ({ name: resource }))].map(({ name }) => name),
    ),
  ];
  const decision = { gid, incarnation: state.incarnation, participants };
  try {
    return (await ofStore(deployment, secrets, (log) => log.actByHand(hand, decision)))!;
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ERR_TXN_FENCED') throw error;
    throw new CommandError(
      'refused',
      `${gid}: its process was taken the right to decide at this moment, and recovery may have begun to roll it back: nothing was done`,
      [`look at it again: npx unanimous show ${gid}`],
    );
  }
}

interface Failure {
  readonly resource: string;
  readonly error: string;
}

/** Ends every branch that a configured resource has, all at once. */
async function endAll(action: Action, { gid, branches }: TransactionState, context: Context): Promise<Failure[]> {
  const { deployment, secrets, say } = context;
  const failures: Failure[] = [];
  const end = async ({ name, resource }: (typeof deployment.resources)[number]): Promise<void> => {
    const xid = { gid, branch: name };
    try {
      await (action === 'commit' ? resource.commitPrepared(xid) : resource.rollbackPrepared(xid));
      say(`${WORDS[action].participle} ${name}`);
    } catch (error) {
      failures.push({ resource: name, error: secrets.reason(error) });
      say(`${name} failed: ${secrets.reason(error)}`);
    }
  };
  const prepared = new Set(branches.map(({ resource }) => resource));
  await Promise.all(deployment.resources.filter(({ name }) => prepared.has(name)).map(end));
  return failures;
}

function finish(action: Action, { say }: Context, found: Survey, failures: readonly Failure[]): Result {
  const state = found.transactions[0]!;
  const left = state.branches.map(({ resource }) => resource);
  const unreached = found.resources.filter(({ failure }) => failure !== undefined);
  sayUnreached(say, unreached);
  if (left.length > 0) {
    say(`left prepared: ${names(left)}; the outcome stays as it is, and recovery goes on with it`);
    const isAlive = state.process === 'living';
    const before = isAlive
      ? `its process (${state.node}) ends it, or holds it: see its log, or end that process; then `
      : '';
    say(`next: ${before}npx unanimous ${action} ${state.gid} tries again`);
  } else if (unreached.length > 0) {
    say('nothing else of it is left; what is prepared there is ended by recovery, once it can be reached');
  } else say('nothing of it is left prepared');
  const exitCode = unreached.length > 0 ? UNREACHABLE : left.length > 0 ? LEFT : WELL;
  return { exitCode, json: { ...transactionJson(state), failures, unreachable: unreachedJson(found.resources) } };
}
