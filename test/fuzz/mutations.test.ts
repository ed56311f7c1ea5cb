// Protects the fuzzing: mistakes that it is there to find are found, so that its silence means something. Here one of each kind;
// `npm run fuzz -- --mistakes` lets it look for all.
import { assert, suite } from '../support/suite.ts';
import { MUTATIONS, hunt } from './mutations.ts';

const SECONDS = 240;
const SEED = 1;

const test = suite('mistakes that the fuzzing finds', { timeoutMs: (SECONDS + 60) * 1000 });

for (const kind of ['api', 'sql', 'mariadb'] as const) {
  const mutation = MUTATIONS.find((each) => each.kind === kind)!;
  test(`${mutation.kind}: ${mutation.name}`, async () => {
    const { isFound, output } = await hunt(mutation, { seed: SEED, seconds: SECONDS });
    assert.ok(isFound, output);
  });
}
