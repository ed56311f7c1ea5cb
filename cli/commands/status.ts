/** `status`: the processes, the resources and their room, and whether anything is in doubt. */
import type { ResourceWarningKind } from '../../coordinator/index.ts';
import type { Command, Context } from '../command.ts';
import { LEFT, WELL } from '../exit.ts';
import { isGidOf } from '../gid.ts';
import { type OutboxSurvey, surveyOutbox } from '../outbox.ts';
import { saySummary, unreachedJson } from '../print.ts';
import { type ResourceState, type Survey, survey } from '../survey.ts';
import { age, count, table, time } from '../table.ts';
import { PATIENCE_MS, exitCodeOf, judge } from '../verdict.ts';

/** What keeps recovery from its work already, or will before long. */
const ALARMING: ReadonlySet<ResourceWarningKind> = new Set(['little-room', 'missing-right', 'foreign-owner']);

export const status: Command = {
  name: 'status',
  takesGid: false,
  takesForce: false,
  summary: 'the processes that may decide, the resources and their room, and whether anything is in doubt',
  help: `Shows the decision store, the processes that are registered in it, and for each
resource how many transactions of this application it has prepared, for how
long the oldest has been, and how much room its server has for prepared
transactions (PostgreSQL: max_prepared_transactions). Fit for monitoring: ends
with 1 where a transaction is in doubt, where a message of the outbox needs
somebody, where a server has less than a tenth of its room left, or where the
user may not list or end what is prepared. Changes nothing.`,
  async run({ deployment, secrets, say }) {
    const found = await survey(deployment, secrets);
    const outbox = deployment.log.outbox === undefined ? undefined : await surveyOutbox({ deployment, secrets });
    const told = await askWarnings({ deployment }, found);
    const warnings = [...told, ...warningsOf(found), ...outboxWarnings(outbox)];
    say(`store      ${deployment.logAddress ?? "the configuration's own"}, identity ${found.store}`);
    say(`app        ${found.app}`);
    if (deployment.file !== undefined) say(`read from  ${deployment.file}`);
    say();
    sayNodes(say, found);
    say();
    sayResources(say, found.resources);
    say();
    for (const warning of warnings.map(({ text }) => text)) say(warning);
    saySummary(say, found);
    const doubtful = found.transactions.filter((each) => judge(each).inDoubt);
    if (doubtful.length > 0) say('next: npx unanimous list');
    const exitCode = exitCodeOf(found);
    const isAlarming = warnings.some(({ alarms }) => alarms);
    return {
      exitCode: exitCode === WELL && isAlarming ? LEFT : exitCode,
      json: {
        app: found.app,
        store: found.store,
        address: deployment.logAddress ?? null,
        nodes: found.nodes.map(({ incarnation, node, startedAt, isExpired }) => ({
          incarnation,
          node,
          startedAt,
          isExpired,
        })),
        resources: found.resources.map(resourceJson),
        unreachable: unreachedJson(found.resources),
        transactions: found.transactions.length,
        inDoubt: doubtful.map(({ gid }) => gid),
        outbox: outbox === undefined ? null : outboxJson(outbox),
        warnings: warnings.map(({ text }) => text),
      },
    };
  },
};

function sayNodes(say: Context['say'], { nodes }: Survey): void {
  if (nodes.length === 0) return say('no process is registered: none is running, or none has begun a transaction');
  const rows = nodes.map(({ incarnation, node, startedAt, isExpired }) => [
    node,
    incarnation,
    time(startedAt),
    isExpired ? 'silent since its lease ran out: recovery takes its right to decide away' : 'alive',
  ]);
  for (const line of table(['PROCESS', 'INCARNATION', 'SINCE', 'STATE'], rows)) say(line);
}

function sayResources(say: Context['say'], resources: readonly ResourceState[]): void {
  const rows = resources.map(({ name, address, failure, prepared, oldestMs, used, limit }) => [
    name,
    address ?? "the configuration's own",
    failure === undefined ? String(prepared) : '?',
    prepared === 0 ? '-' : age(oldestMs),
    failure !== undefined
      ? `can't be asked: ${failure}`
      : limit === undefined
        ? 'no limit'
        : `${used} of ${limit} used`,
  ]);
  for (const line of table(['RESOURCE', 'ADDRESS', 'PREPARED', 'OLDEST', 'ROOM AT ITS SERVER'], rows)) say(line);
}

const APP = /^[A-Za-z0-9_.-]{1,12}$/;

interface Warning {
  readonly text: string;
  /** Whether the command ends with 1 because of it. */
  readonly alarms: boolean;
}

function outboxWarnings(outbox: OutboxSurvey | undefined): Warning[] {
  const needy = outbox?.messages.filter(({ needsSomebody }) => needsSomebody).length ?? 0;
  if (needy === 0) return [];
  const text = `${count(needy, 'message')} of the outbox ${needy === 1 ? 'needs' : 'need'} somebody: npx unanimous outbox list`;
  return [{ text, alarms: true }];
}

function outboxJson({ messages, isCut }: OutboxSurvey): object {
  return {
    waiting: messages.filter(({ message }) => !message.isDead).length,
    dead: messages.filter(({ message }) => message.isDead).length,
    oldestMs: messages.length === 0 ? null : Math.round(messages[0]!.message.ageMs),
    isComplete: !isCut,
  };
}

/** What the resources say themselves; those that can't be asked are shown as such. */
async function askWarnings({ deployment }: Pick<Context, 'deployment'>, { app, store }: Survey): Promise<Warning[]> {
  const answers = await Promise.allSettled(
    deployment.resources.map(async ({ resource }) => (await resource.warnings?.(`${app}:${store}:`)) ?? []),
  );
  return answers
    .flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
    .map(({ kind, message }) => ({ text: message, alarms: ALARMING.has(kind) }));
}

function warningsOf({ app, store, resources }: Survey): Warning[] {
  return resources.flatMap(({ name, limit, foreign, oldestMs }) => {
    const warnings: Warning[] = [];
    if (limit === 0) {
      const text = `${name} can't prepare: max_prepared_transactions is 0 at its server, so it can only take part alone, or with twoPhase: false`;
      warnings.push({ text, alarms: false });
    }
    if (oldestMs !== undefined && oldestMs >= PATIENCE_MS) {
      const text = `${name} has had something prepared for ${age(oldestMs)}, which keeps its locks: npx unanimous list`;
      warnings.push({ text, alarms: false });
    }
    // Of an app only where it has the form of what one prepares: what is shown is taken for a command.
    const isOfApp = (gid: string): boolean => {
      const [other] = gid.split(':', 1);
      return other !== app && APP.test(other!) && isGidOf(`${other}:${store}:`, gid);
    };
    const apps = [...new Set(foreign.filter(isOfApp).map((gid) => gid.split(':')[0]!))];
    if (apps.length > 0) {
      const text = `${name} has something prepared of ${apps.join(', ')}, in the same store, which is not looked at here: this is about the app ${app} (--app ${apps[0]})`;
      warnings.push({ text, alarms: false });
    }
    const others = foreign.filter((gid) => !isOfApp(gid));
    if (others.length > 0) {
      const text = `${name} has ${count(others.length, 'transaction')} of other decision stores prepared, or of processes without one: they are not looked at here`;
      warnings.push({ text, alarms: false });
    }
    return warnings;
  });
}

function resourceJson({ name, address, failure, prepared, oldestMs, used, limit, foreign }: ResourceState): object {
  return {
    name,
    address: address ?? null,
    isReachable: failure === undefined,
    prepared,
    oldestMs: oldestMs === undefined ? null : Math.round(oldestMs),
    used: used ?? null,
    limit: limit ?? null,
    foreign,
  };
}
