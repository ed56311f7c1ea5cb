// Protects the simulation: each of the mistakes that a protocol like this one is made wrong by is found, so that its silence means something.
import { assert, suite } from '../support/suite.ts';
import { MUTATIONS, hunt } from './mutations.ts';

const STEPS = 6_000_000;
const TIMEOUT_MS = 300_000;

const test = suite('mistakes that the simulation finds', { timeoutMs: TIMEOUT_MS + 10_000 });

for (const mutation of MUTATIONS) {
  test(mutation.name, async () => {
    const { isFound, output } = await hunt(mutation, { steps: STEPS, timeoutMs: TIMEOUT_MS });
    assert.ok(isFound, output);
  });
}
