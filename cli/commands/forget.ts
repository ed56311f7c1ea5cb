/** `forget GID`: deletes a decision that nobody can follow any more. */
import type { Command, Context } from '../command.ts';
import { CommandError, WELL } from '../exit.ts';
import { ofStore, survey, type Survey, type TransactionState } from '../survey.ts';
import { names } from '../table.ts';
import { inWords } from './refusal.ts';

export const forget: Command = {
  name: 'forget',
  takesGid: true,
  takesForce: true,
  summary: 'deletes the decision about a transaction that nobody has to follow any more',
  help: `Recovery deletes decisions by itself, once all that must follow were asked and
have nothing of the transaction left. This is for the rest: a resource that is
gone for good, and can't be asked, needs --force. Never deletes a decision
while something of the transaction is prepared, as that would be rolled back
then; nor, without --force, while its process is registered, which might decide
otherwise.`,
  async run(context) {
    const { deployment, secrets, gid, force, by, say } = context;
    const found = await survey(deployment, secrets, gid);
    const state = found.transactions[0]!;
    if (state.decision === undefined && state.branches.length === 0) {
      say(`nothing is decided about ${gid}: there is nothing to forget`);
      return { exitCode: WELL, json: { gid, forgotten: null } };
    }
    refusePrepared(state);
    if (!force) refuseUnforced(state, found);
    if (state.process !== 'gone') await fence(state, context);
    const decision = { gid, incarnation: state.incarnation, participants: state.decision!.participants };
    await ofStore(deployment, secrets, (log) => log.actByHand({ action: 'forget', by, forced: force }, decision));
    const { outcome } = state.decision!;
    say(`forgotten, and written down with your name (${by}): that ${gid} was decided to be ${inWords(outcome)}`);
    return { exitCode: WELL, json: { gid, forgotten: outcome } };
  },
};

/** @throws CommandError whatever is forced. */
function refusePrepared({ gid, decision, branches }: TransactionState): void {
  if (branches.length === 0) return;
  const left = names(branches.map(({ resource }) => resource));
  const command = decision?.outcome === 'committed' ? 'commit' : 'abort';
  throw new CommandError(
    'refused',
    `${left} has ${gid} prepared, and would roll it back without a decision: nothing was done`,
    [`npx unanimous ${command} ${gid} ends it first`],
  );
}

/** @throws CommandError where somebody may still need it. */
function refuseUnforced(state: TransactionState, { resources }: Survey): void {
  const { gid, node, process, unknown } = state;
  const unreached = resources.filter(({ failure }) => failure !== undefined).map(({ name }) => name);
  const force = `npx unanimous forget ${gid} --force`;
  if (unreached.length > 0) {
    throw new CommandError(
      'refused',
      `${names(unreached)} can't be asked, and may have ${gid} prepared: nothing was done`,
      [`where that is gone for good: ${force}`],
    );
  }
  if (unknown.length > 0) {
    throw new CommandError(
      'refused',
      `${names(unknown)} must follow the decision about ${gid}, and isn't configured here: nothing was done`,
      [`name it among the resources; where it is gone for good: ${force}`],
    );
  }
  if (process !== 'gone') {
    throw new CommandError(
      'refused',
      `the process of ${gid} is registered (${node}), and may need the decision: nothing was done`,
      [
        'it deletes the decision by itself, or recovery does once the process has ended',
        `${force} takes its right to decide away first: its open transactions over several resources are rolled back`,
      ],
    );
  }
}

/** So that its process can't decide otherwise afterwards. */
async function fence(
  { gid, incarnation, node }: TransactionState,
  { deployment, secrets, say }: Context,
): Promise<void> {
  if (await ofStore(deployment, secrets, (log) => log.fence(incarnation))) {
    say(`the process of it (${node}) was taken its right to decide`);
    return;
  }
  throw new CommandError(
    'refused',
    `the process of ${gid} (${node}) is deciding something at this moment: nothing was done`,
    ['try again in a few seconds'],
  );
}
