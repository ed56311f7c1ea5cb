// Protects the machine as a whole: random programs of runs in runs, writes, savepoints, hooks, synchronizers, dooms and failures do, call by
// call, what a specification of a page says, and leave a clean context behind.
import { assert, suite } from '../../support/suite.ts';
import { fuzzApi } from './check.ts';

const RUNS = 1_500;
const LIMIT_MS = 6_000;

const test = suite('random programs on a coordinator', { timeoutMs: 120_000 });

test('random programs do what the specification says', async () => {
  const { done, failure } = await fuzzApi({ runs: RUNS, seed: 20_261_121, limitMs: LIMIT_MS });
  assert.is(failure, undefined, failure);
  assert.ok(done['operations']! > 0);
});
