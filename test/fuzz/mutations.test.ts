// Protects the fuzzing: mistakes that it is there to find are found, so that its silence means something. Here those that need no server, and one
// of each that does; `npm run fuzz -- --mistakes` lets it look for all.
import { assert, suite } from '../support/suite.ts';
import { MUTATIONS, hunt } from './mutations.ts';

const SECONDS = 240;
const SEED = 1;

const test = suite('mistakes that the fuzzing finds', { timeoutMs: (SECONDS + 60) * 1000 });

const firstOfEach = (['sql', 'mariadb'] as const).map((kind) => MUTATIONS.find((mutation) => mutation.kind === kind)!);
for (const mutation of [...MUTATIONS.filter(({ kind }) => kind === 'api'), ...firstOfEach]) {
  test(`${mutation.kind}: ${mutation.name}`, async () => {
    const { isFound, output } = await hunt(mutation, { seed: SEED, seconds: SECONDS });
    assert.ok(isFound, output);
  });
}
