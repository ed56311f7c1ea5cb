// npm run example:order: the example ends well, says so, and leaves nothing behind, also where it is interrupted.
import { mariadb, postgres, redis } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { Example } from './example.ts';

const test = suite('npm run example:order', { timeoutMs: 120_000 });
// Asked for so that the file is skipped where there are none; the example starts its own.
await Promise.all([postgres(), mariadb(), redis()]);

const example = new Example('examples/order/main.ts');
test.after(() => example.remove());

let shown: { code: number | null; output: string; left: string[] };
test.before(async () => {
  const { child, output, ended } = example.start();
  await ended;
  shown = { code: child.exitCode, output: output(), left: await example.leftovers() };
});

test('ends with 0 and finds every invariant kept', () => {
  assert.is(shown.code, 0, shown.output);
  assert.is(shown.output.match(/✓ holds /g)?.length, 8);
  assert.match(shown.output, /✓ holds +nothing came out otherwise than it should +0 surprises/);
  assert.match(shown.output, /Every order is complete or isn’t there; what is not done yet waits in the outbox\./);
  assert.not.match(shown.output, /BROKEN|Warning|should be/);
});

test('leaves neither a server nor its folder behind', () => {
  assert.equal(shown.left, []);
});

test('shows every mishap as it was thrown, and what is there of its order', () => {
  const complete = 'order ✓   stock ✓   cache ✓   file ✓   mail ✓';
  const nothing = 'order –   stock –   cache –   file –   mail –';
  const unsent = 'order ✓   stock ✓   cache ✓   file ✓   mail –';
  const scenes: [heading: string, thrown: string, seen: string][] = [
    ['1. nothing goes wrong', '', complete],
    ['2. there isn’t enough', "OutOfStock: there aren't 1000000 of article", nothing],
    ['3. PostgreSQL refuses to commit', 'error 23503: insert or update on table "orders"', nothing],
    ['4. the file hasn’t come in', 'Error: ENOENT: no such file or directory, rename', nothing],
    ['5. MariaDB ends the connection', '', complete],
    ['6. the mail server refuses the recipient', '', unsent],
    ['7. the mail server isn’t there', '', complete],
    ['8. Redis is killed', '', complete],
    ['9. MariaDB is killed when all have voted yes', '', complete],
  ];
  for (const [heading, thrown, seen] of scenes) {
    const scene = shown.output.split('\n\n').find((each) => each.includes(`  ${heading}`)) ?? '';
    assert.match(scene, heading);
    assert.match(scene, thrown);
    assert.match(scene, seen);
  }
});

test('prints no control sequences where there is no terminal', () => {
  // eslint-disable-next-line no-control-regex
  assert.not.match(shown.output, /[\u001B\r]/);
});

test('stops its servers when it is interrupted in the middle', async () => {
  const { child, output } = await example.interruptAfter('One order after the other');
  assert.is(child.exitCode, 130, output());
  assert.match(output(), /interrupted: the servers are stopped and their folders removed/);
  assert.equal(await example.leftovers(), []);
});
