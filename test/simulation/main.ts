// npm run sim -- --seed S --steps N: lets one world after the other run, from seed S on, until N events have happened. With --verbose it also
// says how often each situation occurred. world.ts says what of all this is the real program.
import { parseArgs } from 'node:util';
import { SITUATIONS } from './situations.ts';
import { Total } from './total.ts';
import { type Result, live } from './world.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    steps: { type: 'string', default: '2000000' },
    worlds: { type: 'string', default: '1000000000' },
    seconds: { type: 'string', default: '1000000000' },
    verbose: { type: 'boolean', default: false },
  },
});
const numbers = [values.seed, values.steps, values.worlds, values.seconds].map(Number);
const [first, wanted, most, longest] = numbers as [number, number, number, number];
if (!numbers.every((value) => Number.isSafeInteger(value) && value >= 0)) {
  console.error('npm run sim -- [--seed S] [--steps N] [--worlds N] [--seconds N] [--verbose]: whole numbers');
  process.exit(2);
}

const start = performance.now();
const before = process.cpuUsage();
const total = new Total();
let broken: Result | undefined;
const isTimeUp = (): boolean => performance.now() - start > longest * 1000;
for (let seed = first; total.steps < wanted && total.worlds < most && broken === undefined && !isTimeUp(); seed++) {
  const result = await live(seed);
  total.add(result);
  if (result.breaches.length > 0) broken = result;
}
const seconds = (performance.now() - start) / 1000;
const { user, system } = process.cpuUsage(before);
const computing = (user + system) / 1e6;
console.log(
  `${total.worlds} worlds from seed ${first}: ${total.steps} steps, ${total.transactions} transactions, ${total.committed} committed, ` +
    `${total.faults} faults, in ${seconds.toFixed(1)} s, ${computing.toFixed(1)} of them computing (${Math.round((total.steps / computing) * 60)} steps a minute of that)`,
);
console.log(`the trace of all that happened: ${total.trace}`);
if (values.verbose) {
  for (const situation of SITUATIONS) {
    console.log(`${String(total.situations.counts.get(situation) ?? 0).padStart(9)}  ${situation}`);
  }
  console.log(`at most at once: ${total.peaksInWords}; until nothing was left: ${total.longestHealingMs / 1000} s`);
}
if (broken === undefined) console.log('nothing was half done, lost or contradicted, and nothing is left');
else {
  console.log(`seed ${broken.seed}: ${broken.breaches.length} breaches`);
  for (const each of broken.breaches.slice(0, 20)) console.log(`  ${each}`);
}
process.exit(broken === undefined ? 0 : 1);
