// npm run example:service: the service keeps its invariants under load, says so, and leaves nothing behind.
import { postgres, redis } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { Example } from './example.ts';

const test = suite('npm run example:service', { timeoutMs: 120_000 });
// Asked for so that the file is skipped where there are none; the example starts its own.
await Promise.all([postgres(), redis()]);

const example = new Example('examples/service/main.ts');
test.after(() => example.remove());

test('ends with 0, finds every invariant kept, and leaves no server behind', async () => {
  const { child, output, ended } = example.start();
  await ended;
  assert.is(child.exitCode, 0, output());
  assert.is(output().match(/✓ holds /g)?.length, 7);
  assert.match(output(), 'Every order is complete, or isn’t there.');
  assert.not.match(output(), /BROKEN|Warning/);
  // All of what can happen to an order has happened.
  for (const seen of ['placed', 'too few', 'failed', 'gone']) {
    assert.match(output(), new RegExp(`^ *${seen} +[1-9]`, 'm'));
  }
  assert.equal(await example.leftovers(), []);
});
