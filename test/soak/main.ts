// npm run soak -- [--minutes N] [--seed S] [--recovery lease-only] [--chaos kill,pause,…] [--tellers N] [--lease MS]
//
// Exits with 1 where a rule is broken, with 2 where it was called wrongly.
import { parseArgs } from 'node:util';
import { MISHAP_KINDS, type MishapKind } from './plan.ts';
import { announce, conclude, watcher } from './report.ts';
import { type SoakOptions, soak } from './soak.ts';

const ROUND_MS = 60_000;

function optionsOf(args: readonly string[]): SoakOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string', default: '1' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      recovery: { type: 'string', default: 'fence' },
      chaos: { type: 'string', default: MISHAP_KINDS.join() },
      tellers: { type: 'string', default: '4' },
      lease: { type: 'string', default: '2000' },
    },
  });
  const { recovery } = values;
  if (recovery !== 'fence' && recovery !== 'lease-only') {
    throw new Error(`--recovery must be fence or lease-only, not ${recovery}`);
  }
  const totalMs = aNumber('minutes', values.minutes) * 60_000;
  return {
    seed: values.seed,
    recovery,
    rounds: Array.from({ length: Math.ceil(totalMs / ROUND_MS) }, (_, index) =>
      Math.min(ROUND_MS, totalMs - index * ROUND_MS),
    ),
    tellers: Math.ceil(aNumber('tellers', values.tellers)),
    atOnce: 4,
    leaseMs: aNumber('lease', values.lease),
    kinds: values.chaos.split(',').map((kind) => {
      if (!MISHAP_KINDS.includes(kind as MishapKind)) {
        throw new Error(`--chaos must be some of ${MISHAP_KINDS.join()}, not ${kind}`);
      }
      return kind as MishapKind;
    }),
    // The counter-proof counts.
    goesOn: recovery === 'lease-only',
  };
}

function aNumber(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`--${name} must be a number above 0, not ${text}`);
  return value;
}

let options: SoakOptions | undefined;
try {
  options = optionsOf(process.argv.slice(2));
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 2;
}
if (options !== undefined) {
  announce(options);
  const result = await soak(options, watcher());
  process.exitCode = conclude(result) ? 0 : 1;
}
