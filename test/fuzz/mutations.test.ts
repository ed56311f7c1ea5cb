// Protects the fuzzing: each of the mistakes that it is there to find is found, so that its silence means something. A core that has nothing
// else to do needs a few seconds for each.
import { assert, suite } from '../support/suite.ts';
import { MUTATIONS, hunt } from './mutations.ts';

const SECONDS = 240;
const SEED = 1;

const test = suite('mistakes that the fuzzing finds', { timeoutMs: (SECONDS + 60) * 1000 });

for (const mutation of MUTATIONS) {
  test(`${mutation.kind}: ${mutation.name}`, async () => {
    const { isFound, output } = await hunt(mutation, { seed: SEED, seconds: SECONDS });
    assert.ok(isFound, output);
  });
}
