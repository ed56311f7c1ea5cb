// npm run sim -- --seed S --steps N: lets one world after the other run, from seed S on, until N events have happened.
import { parseArgs } from 'node:util';
import { live } from './world.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    steps: { type: 'string', default: '2000000' },
    worlds: { type: 'string', default: '1000000000' },
  },
});
const [first, wanted, most] = [Number(values.seed), Number(values.steps), Number(values.worlds)];
if (![first, wanted, most].every((value) => Number.isSafeInteger(value) && value >= 0)) {
  console.error('npm run sim -- [--seed S] [--steps N] [--worlds N]: whole numbers');
  process.exit(2);
}

const start = performance.now();
const sum = { worlds: 0, steps: 0, transactions: 0, committed: 0, faults: 0 };
let breach: { seed: number; breaches: readonly string[] } | undefined;
for (let seed = first; sum.steps < wanted && sum.worlds < most && breach === undefined; seed++) {
  const { steps, transactions, committed, faults, breaches } = await live(seed);
  sum.worlds++;
  sum.steps += steps;
  sum.transactions += transactions;
  sum.committed += committed;
  sum.faults += faults;
  if (breaches.length > 0) breach = { seed, breaches };
}
const seconds = (performance.now() - start) / 1000;
console.log(
  `${sum.worlds} worlds from seed ${first}: ${sum.steps} steps, ${sum.transactions} transactions, ${sum.committed} committed, ` +
    `${sum.faults} faults, in ${seconds.toFixed(1)} s (${Math.round((sum.steps / seconds) * 60)} steps a minute)`,
);
if (breach === undefined) console.log('nothing was half done, lost or contradicted, and nothing is left');
else {
  console.log(`seed ${breach.seed}: ${breach.breaches.length} breaches`);
  for (const each of breach.breaches.slice(0, 20)) console.log(`  ${each}`);
}
process.exit(breach === undefined ? 0 : 1);
