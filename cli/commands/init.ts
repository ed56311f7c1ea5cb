/** `init`: makes the decision store, and checks whether the resources can prepare. */
import type { Command } from '../command.ts';
import { LEFT, UNREACHABLE, WELL } from '../exit.ts';
import type { NamedResource } from '../configuration.ts';
import type { Secrets } from '../secrets.ts';
import { ofStore } from '../survey.ts';

interface Check {
  readonly name: string;
  readonly state: 'ready' | 'not ready' | 'unreachable';
  readonly reason: string | undefined;
}

export const init: Command = {
  name: 'init',
  takesGid: false,
  takesForce: false,
  summary: 'makes the tables of the decision store, and checks whether the resources can prepare',
  help: `Makes the tables of the decision store, or brings them to the version of this
release; where they are there, changes nothing. The application does the same
by itself, where its role may create tables. Then asks every resource whether
it can prepare, and says what to set where it can't (ends with 1).`,
  async run({ deployment, secrets, say }) {
    const before = await deployment.log.open({ create: false }).catch(() => undefined);
    const store = await ofStore(deployment, secrets, (log) => log.open());
    say(`the decision store ${before === undefined ? 'is made' : 'is there already'}: identity ${store}`);
    const checks = await Promise.all(deployment.resources.map((each) => check(each, secrets)));
    for (const { name, state, reason } of checks) {
      if (state === 'ready') say(`${name} is ready`);
      else say(`${name} ${state === 'unreachable' ? "can't be asked" : 'is not ready'}: ${reason}`);
    }
    const states = new Set(checks.map(({ state }) => state));
    const exitCode = states.has('unreachable') ? UNREACHABLE : states.has('not ready') ? LEFT : WELL;
    const resources = checks.map(({ name, state, reason }) => ({ name, state, reason: reason ?? null }));
    return { exitCode, json: { app: deployment.app, store, wasMade: before === undefined, resources } };
  },
};

async function check({ name, resource }: NamedResource, secrets: Secrets): Promise<Check> {
  try {
    await resource.check?.();
    await resource.listPrepared();
    return { name, state: 'ready', reason: undefined };
  } catch (error) {
    const isUnfit = (error as { code?: unknown }).code === 'ERR_TXN_CONFIGURATION';
    return { name, state: isUnfit ? 'not ready' : 'unreachable', reason: secrets.reason(error) };
  }
}
