// npm run histories -- [--seconds N] [--seed S] [--isolation 'read committed',…] [--databases postgres,mariadb,mariadb-snapshot]
//
// One run for each isolation and each database beside PostgreSQL, of so many seconds each. Exits with 1 where a promise is broken, with 2
// where it was called wrongly.
import { parseArgs } from 'node:util';
import { announce, conclude, show } from './report.ts';
import { type RunResult, runIn } from './run.ts';
import { type Isolation, ISOLATIONS, type Product, PRODUCTS, STORES } from './setting.ts';
import { World } from './world.ts';

interface Wanted {
  readonly seconds: number;
  readonly seed: string;
  readonly isolations: readonly Isolation[];
  readonly products: readonly Product[];
}

function wantedOf(args: readonly string[]): Wanted {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seconds: { type: 'string', default: '20' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      isolation: { type: 'string', default: ISOLATIONS.join() },
      databases: { type: 'string', default: PRODUCTS.join() },
    },
  });
  const seconds = Number(values.seconds);
  if (!(seconds > 0)) throw new Error(`--seconds must be a number above 0, not ${values.seconds}`);
  return {
    seconds,
    seed: values.seed,
    isolations: some('isolation', values.isolation, ISOLATIONS),
    products: some('databases', values.databases, PRODUCTS),
  };
}

function some<T extends string>(name: string, text: string, of: readonly T[]): T[] {
  return text.split(',').map((each) => {
    const found = of.find((one) => one === each.trim());
    if (found === undefined) throw new Error(`--${name} must be some of ${of.join()}, not ${each}`);
    return found;
  });
}

async function runAll({ seconds, seed, isolations, products }: Wanted): Promise<boolean> {
  const world = await World.open(products);
  const results: RunResult[] = [];
  try {
    for (const product of products) {
      for (const isolation of isolations) {
        // The setting changes nothing but repeatable read.
        if (product === 'mariadb-snapshot' && isolation !== 'repeatable read' && products.includes('mariadb')) continue;
        const options = { seed, isolation, product, forMs: seconds * 1000, stores: STORES, atOnce: 4, leaseMs: 2_000 };
        announce(options);
        const result = await runIn(world, options);
        show(result);
        results.push(result);
      }
    }
  } finally {
    await world.close();
  }
  return conclude(results);
}

let wanted: Wanted | undefined;
try {
  wanted = wantedOf(process.argv.slice(2));
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 2;
}
if (wanted !== undefined) process.exitCode = (await runAll(wanted)) ? 0 : 1;
