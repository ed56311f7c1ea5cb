// Protects the protocol from what real servers can't be made to do a million times: processes that die or are paused at any moment, messages that
// are lost or land late, clocks that jump. The coordinator is the real one; time, network and servers are simulated.
import { assert, suite } from '../support/suite.ts';
import { live } from './world.ts';

const test = suite('simulation', { timeoutMs: 240_000 });

const WORLDS = 12;
const FIRST_SEED = 1;

test('the same seed is the same world, step by step', async () => {
  const [first, second] = [await live(7), await live(7)];
  assert.equal(second, first);
  assert.is.not((await live(8)).steps, first.steps);
});

for (let seed = FIRST_SEED; seed < FIRST_SEED + WORLDS; seed++) {
  test(`world ${seed}: nothing is half done, lost or contradicted, and in the end nothing is left`, async () => {
    const { breaches, committed, faults } = await live(seed);
    assert.equal(breaches, [], `npm run sim -- --seed ${seed} --worlds 1`);
    assert.ok(committed > 100 && faults > 50, 'enough went well, and enough went wrong');
  });
}
