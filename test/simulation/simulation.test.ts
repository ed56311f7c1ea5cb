// Protects the protocol from what real servers can't be made to do a million times: processes that die or are paused at any moment, messages that
// are lost, land late or overtake each other, clocks that jump. The coordinator is the real one; time, network and servers are simulated.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { NODE_ARGUMENTS, program } from '../support/program.ts';
import { assert, suite } from '../support/suite.ts';
import { SITUATIONS } from './situations.ts';
import { Total } from './total.ts';
import { type Result, live } from './world.ts';

const test = suite('simulation', { timeoutMs: 240_000 });

const WORLDS = 9;
const FIRST_SEED = 1;

const total = new Total();
const results = new Map<number, Result>();

for (let seed = FIRST_SEED; seed < FIRST_SEED + WORLDS; seed++) {
  test(`world ${seed}: nothing is half done, lost or contradicted, nothing piles up, and in the end nothing is left`, async () => {
    const result = await live(seed);
    total.add(result);
    results.set(seed, result);
    assert.equal(result.breaches, [], `npm run sim -- --seed ${seed} --worlds 1`);
    assert.ok(result.committed > 100 && result.faults > 50, 'enough went well, and enough went wrong');
  });
}

test('the worlds have come across every situation that the protocol is made for', () => {
  assert.is(total.worlds, WORLDS);
  const missing = SITUATIONS.filter((situation) => (total.situations.counts.get(situation) ?? 0) === 0);
  assert.equal(missing, [], `npm run sim -- --seed ${FIRST_SEED} --worlds ${WORLDS} --verbose`);
});

test('the same seed is the same world, step by step, in this process and in any other', async () => {
  const seed = 7;
  const first = results.get(seed)!;
  assert.equal(await live(seed), first);
  const main = program(join(import.meta.dirname, 'main.ts'));
  const args = [...NODE_ARGUMENTS, main, '--seed', String(seed), '--worlds', '1'];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  const alone = new Total();
  alone.add(first);
  assert.match(stdout, `the trace of all that happened: ${alone.trace}\n`);
  assert.is.not(results.get(seed + 1)!.trace, first.trace);
});
