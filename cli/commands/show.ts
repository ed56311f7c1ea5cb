/** `show GID`: all that is known of one transaction. */
import type { Command, Context } from '../command.ts';
import { actionText, sayUnreached, transactionJson, unreachedJson } from '../print.ts';
import { ofStore, survey, type Survey, type TransactionState } from '../survey.ts';
import { age, names, time } from '../table.ts';
import { exitCodeOf, judge } from '../verdict.ts';

export const show: Command = {
  name: 'show',
  takesGid: true,
  takesForce: false,
  summary: 'all that is known of one transaction, and what was done about it by hand',
  help: `Shows the process of the transaction, its decision, where it is prepared and
where not, what was done about it by hand and by whom, and what to do.
Changes nothing.`,
  async run({ deployment, secrets, gid, say }) {
    const found = await survey(deployment, secrets, gid);
    const state = found.transactions[0]!;
    const actions = await ofStore(deployment, secrets, (log) => log.handActions(gid));
    sayState(say, state, found);
    for (const line of actions.map(actionText)) say(`by hand       ${line}`);
    sayUnreached(say, found.resources);
    const { reason, next } = judge(state);
    say();
    say(reason);
    if (next !== undefined) say(`next: ${next}`);
    const json = {
      ...transactionJson(state),
      notPrepared: notPrepared(state, found),
      actions: actions.map(({ action, by, forced, at, message }) => ({
        action,
        by,
        forced,
        at,
        message: message === undefined ? null : { number: message.sequence, target: message.target },
      })),
      unreachable: unreachedJson(found.resources),
    };
    return { exitCode: exitCodeOf(found), json };
  },
};

function sayState(say: Context['say'], state: TransactionState, found: Survey): void {
  const { decision } = state;
  const processes = {
    living: `${state.node}, alive`,
    silent: `${state.node}, silent for longer than its lease`,
    gone: 'gone: not registered any more',
  };
  say(`transaction   ${state.gid}`);
  say(`process       ${processes[state.process]} (incarnation ${state.incarnation})`);
  if (decision === undefined) say('decision      none');
  else if (decision.outcome === 'aborted') say(`decision      roll back, ${time(decision.createdAt)}`);
  else
    say(
      `decision      commit, ${time(decision.createdAt)}; to be followed by ${names(decision.participants) || 'nobody'}`,
    );
  for (const { resource, configured, ageMs } of state.branches) {
    const since = ageMs === undefined ? "for how long its server doesn't tell" : `for ${age(ageMs)}`;
    say(`prepared      ${resource}, ${since}${configured ? '' : ' (no configured resource has this name)'}`);
  }
  const rest = notPrepared(state, found);
  if (rest.length > 0) say(`not prepared  ${names(rest)}`);
}

/** The resources that could be asked and have nothing of it. */
function notPrepared(state: TransactionState, { resources }: Survey): string[] {
  return resources
    .filter(({ name, failure }) => failure === undefined && !state.branches.some(({ resource }) => resource === name))
    .map(({ name }) => name);
}
