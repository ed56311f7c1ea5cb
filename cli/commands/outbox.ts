/**
 * `outbox list`, `outbox retry MESSAGE…` and `outbox drop MESSAGE…`: what is stored with decisions and not done yet. The command delivers
 * nothing itself: it has neither mail servers nor functions of the application.
 */
import type { Command, Context, Result } from '../command.ts';
import { CommandError, LEFT, WELL } from '../exit.ts';
import { type MessageId, messageId } from '../gid.ts';
import { type MessageState, messageJson, outboxOf, sayMessages, surveyOutbox } from '../outbox.ts';
import { ofStore } from '../survey.ts';
import { age, count, names } from '../table.ts';

export const listMessages: Command = {
  name: 'outbox list',
  takesGid: false,
  takesForce: false,
  summary: 'what is stored to be done after commits and is not done yet: mails, Redis commands, functions',
  help: `Shows a line for each message: the target that it is for, its place among those
of its target, how often its delivery has failed, when it is tried next, and how
long ago it was stored. Below it, what that means, and what to do. Ends with 1
where a message is dead (it has failed too often and nobody tries any more), or
where no running process delivers to its target. What a message holds is not
shown: it is in the column payload of the table of the outbox. Changes nothing.`,
  async run(context) {
    const { say } = context;
    const { messages, isCut } = await surveyOutbox(context);
    sayMessages(say, messages);
    if (messages.length > 0) say();
    const needy = messages.filter(({ needsSomebody }) => needsSomebody).length;
    if (messages.length === 0) say('nothing waits: all that was stored with decisions is done');
    else
      say(
        `${count(messages.length, 'message')}, ${needy === 0 ? 'none' : needy} ${needy > 1 ? 'need' : 'needs'} somebody`,
      );
    if (isCut) say('there are more messages than are shown: these are the oldest');
    return {
      exitCode: needy > 0 ? LEFT : WELL,
      json: { app: context.deployment.app, messages: messages.map(messageJson), isComplete: !isCut },
    };
  },
};

export const retry: Command = {
  name: 'outbox retry',
  takesGid: false,
  takesMessages: true,
  takesForce: false,
  summary: 'makes messages due now, dead ones among them',
  help: `Takes ids of messages, or of transactions for all of their messages. A process
of the application delivers them in its next pass of recovery, a few seconds
later; where that fails, a message that was dead is dead again, and another
waits as before. A message that is being delivered at this very moment may be
delivered twice, as any may be.`,
  async run(context) {
    const { deployment, secrets, say } = context;
    const { found, missing } = await find(context);
    if (found.length > 0) {
      const keys = found.map(({ message }) => message);
      await ofStore(deployment, secrets, (log) => outboxOf(log).retry(keys));
    }
    for (const { id, message } of found) say(`due now: ${id} to ${message.target}`);
    sayMissing(say, missing);
    if (found.length > 0) {
      const targets = names([...new Set(found.map(({ message }) => message.target))]);
      say(`the next pass of recovery of a process that has ${targets} delivers: npx unanimous outbox list`);
    }
    return resultOf('retried', found, missing);
  },
};

export const drop: Command = {
  name: 'outbox drop',
  takesGid: false,
  takesMessages: true,
  takesForce: true,
  summary: 'gives messages up for good, and lets those behind them go on',
  help: `Takes ids of messages, or of transactions for all of their messages. Deletes
them: what they would have done is done by nobody, though their transactions are
and stay committed. Who dropped them is written down for good. Messages that
aren't dead, and so are still tried, need --force: one that is being delivered
at this moment may be done all the same.`,
  async run(context) {
    const { deployment, secrets, say, force, by } = context;
    const { found, missing } = await find(context);
    if (!force) refuseLiving(found);
    const keys = found.map(({ message }) => message);
    const dropped =
      keys.length === 0
        ? []
        : await ofStore(deployment, secrets, (log) => outboxOf(log).drop(keys, { by, forced: force }));
    const gone = new Set(dropped.map(messageId));
    const done = found.filter(({ id }) => gone.has(id));
    for (const { id, message } of done) say(`dropped: ${id} to ${message.target}`);
    const late = found.filter(({ id }) => !gone.has(id)).map(({ id }) => id);
    sayMissing(say, [...missing, ...late]);
    if (done.length > 0) {
      say(`written down with your name: ${by}`);
      const targets = names([...new Set(done.map(({ message }) => message.target))]);
      say(`what they would have done is not done; later messages to ${targets} go on`);
    }
    return resultOf('dropped', done, [...missing, ...late]);
  },
};

/** The messages that are meant, and the ids of those that aren't there. @throws CommandError where there are too many to look at. */
async function find(context: Context): Promise<{ found: MessageState[]; missing: string[] }> {
  const { messages, isCut } = await surveyOutbox(context);
  const means = ({ gid, sequence }: MessageId, { message }: MessageState): boolean =>
    message.gid === gid && (sequence === undefined || message.sequence === sequence);
  const found = messages.filter((each) => context.messages.some((id) => means(id, each)));
  const missing = context.messages
    .filter((id) => !messages.some((each) => means(id, each)))
    .map(({ gid, sequence }) => (sequence === undefined ? gid : messageId({ gid, sequence })));
  if (missing.length > 0 && isCut) {
    throw new CommandError(
      'refused',
      `${names(missing)} is not among the oldest ${messages.length} messages, and more aren't looked at: nothing was done`,
      ['end those first: npx unanimous outbox list'],
    );
  }
  return { found, missing };
}

/** @throws CommandError where one is still tried. */
function refuseLiving(found: readonly MessageState[]): void {
  const living = found.filter(({ message }) => !message.isDead);
  if (living.length === 0) return;
  throw new CommandError(
    'refused',
    `${names(living.map(({ id }) => id))} is not dead, and still tried: nothing was done`,
    [
      ...living.map(({ id, reason, message }) => `${id}, ${age(message.ageMs)} old: ${reason}`),
      `to give it up all the same: npx unanimous outbox drop ${living.map(({ id }) => id).join(' ')} --force`,
    ],
  );
}

function sayMissing(say: Context['say'], missing: readonly string[]): void {
  for (const id of missing) say(`not there: ${id}, which was delivered, or dropped (npx unanimous show shows that)`);
}

function resultOf(what: string, found: readonly MessageState[], missing: readonly string[]): Result {
  const messages = found.map(({ id, message }) => ({ id, target: message.target }));
  return { exitCode: WELL, json: { [what]: messages, notThere: missing } };
}
