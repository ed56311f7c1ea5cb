// A short run over both pairs of databases: clients in several processes, some of which are killed, as are connections.
import { assert, suite } from '../support/suite.ts';
import { figuresOf } from './figures.ts';
import { PATIENCE_MS } from './processes.ts';
import type { Line } from './record.ts';
import { type RunResult, runIn } from './run.ts';
import { planTrouble } from './trouble.ts';
import { World } from './world.ts';
import { drawPlan } from './workload.ts';
import { Random } from '../soak/random.ts';

const plans = suite('the plan of a run of histories');

plans('the same seed gives the same trouble and the same transactions, another one others', () => {
  const trouble = planTrouble('1', 200_000, 6);
  assert.equal(planTrouble('1', 200_000, 6), trouble);
  assert.not.equal(planTrouble('2', 200_000, 6), trouble);
  const kinds = new Set(trouble.map((mishap) => (mishap.kind === 'kill' ? mishap.at : mishap.database)));
  assert.equal([...kinds].toSorted(), ['a', 'all prepared', 'any moment', 'b', 'decided']);

  const draw = (seed: string): unknown => {
    const random = new Random(seed);
    return Array.from({ length: 20 }, () =>
      drawPlan(random, { isolation: 'serializable', product: 'postgres', atMs: 0 }),
    );
  };
  assert.equal(draw('1'), draw('1'));
  assert.not.equal(draw('2'), draw('1'));
});

const runs = suite('runs of histories', { timeoutMs: 3 * PATIENCE_MS });

let world: World;
let runsOf: { readonly postgres: Promise<RunResult>; readonly mariadb: Promise<RunResult> };

runs.before(async () => {
  world = await World.open(['postgres', 'mariadb']);
  const inBoth = { seed: '3', forMs: 2_500, least: 20, atOnce: 4, leaseMs: 1_500 } as const;
  // At the same time, as most of what they do is waiting.
  runsOf = {
    postgres: runIn(world, { ...inBoth, product: 'postgres', isolation: 'serializable', stores: ['apart'] }),
    mariadb: runIn(world, { ...inBoth, product: 'mariadb', isolation: 'repeatable read', stores: ['a'] }),
  };
  await Promise.allSettled(Object.values(runsOf));
});
runs.after(() => world.close());

/** Nothing that must not be; and that something has been tried, and has gone wrong. */
async function sound(run: Promise<RunResult>): Promise<readonly Line[]> {
  const result = await run;
  const { forbidden, breaches, evidence } = result;
  assert.equal([...forbidden, ...breaches], [], `the evidence is in ${evidence}`);
  const figures = figuresOf(result);
  assert.ok(figures.killed > 0);
  assert.ok(figures.committed >= 20 && figures.reads > 0);
  assert.ok(result.across.readers > 0 && result.across.writers > 0);
  return result.lines;
}

runs('two PostgreSQL, serializable, decisions apart: nothing is lost, half done or out of order', async () => {
  const lines = await sound(runsOf.postgres);
  assert.ok(lines.some((line) => line.at === 'told' && line.way === 'two-phase'));
});

runs('PostgreSQL and MariaDB, repeatable read, decisions in one of them: no more than the levels allow', async () => {
  const lines = await sound(runsOf.mariadb);
  assert.ok(lines.some((line) => line.at === 'told' && line.way === 'last-resource'));
});
