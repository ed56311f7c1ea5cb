// Protects what the simulation stands on: whatever belongs to a process ends with it. What went on in its next life looked like mistakes of the
// coordinator that weren't.
import { environment } from '../../coordinator/environment.ts';
import { assert, suite } from '../support/suite.ts';
import { Random } from './random.ts';
import { Owner, Simulator } from './simulator.ts';

const test = suite('simulator');

/** Runs a world in which a process is killed in the middle of a turn, and set up again with its clock moved. */
async function afterDeath(set: (process: Owner, came: () => void) => void): Promise<number> {
  const simulator = new Simulator(new Random(1));
  const restore = simulator.install();
  const process = new Owner('process');
  let times = 0;
  try {
    simulator.after(1, process, () => {
      process.die();
      // Code of a dead process goes on to the end of its turn, as here nothing can stop it.
      set(process, () => times++);
    });
    await simulator.runUntil(5);
    process.isUp = true;
    simulator.moveClock(process, 1);
    await simulator.runUntil(1_000);
  } finally {
    restore();
  }
  return times;
}

test('a timer that the dead set in the turn of their death never comes, not even when the clock of their next life jumps', async () => {
  assert.is(await afterDeath((_, came) => void environment.setTimer(came, 10, false)), 0);
});

test('a timer of the living comes once, also where the clock jumps', async () => {
  const times = await afterDeath((process, came) => {
    process.isUp = true;
    environment.setTimer(came, 10, false);
  });
  assert.is(times, 1);
});
