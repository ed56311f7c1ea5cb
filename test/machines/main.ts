// npm run machines                               all partitions, each at each point of a commit
// npm run machines -- --minutes N [--seed S]     transfers while links are cut and healed at random
//
// Exits with 1 where something is wrong, with 2 where it was called wrongly or this machine can't have networks.
import { parseArgs } from 'node:util';
import { type Finding, showFindings } from '../../examples/support/findings.ts';
import { heading, number, say, table } from '../../examples/support/terminal.ts';
import { RULES, type Rule } from '../soak/checks.ts';
import { Application } from './applications.ts';
import { whyNoNetwork } from './network.ts';
import { LEASE_MS, runPartitions } from './partitions.ts';
import { type RoundsOptions, runRounds } from './rounds.ts';
import { ALL } from './scenarios.ts';
import { Site } from './site.ts';

const ROUND_MS = 60_000;

function optionsOf(args: readonly string[]): RoundsOptions | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    },
  });
  if (values.minutes === undefined) return undefined;
  const totalMs = Number(values.minutes) * 60_000;
  if (!(totalMs > 0)) throw new Error(`--minutes must be a number above 0, not ${values.minutes}`);
  const rounds = Array.from({ length: Math.ceil(totalMs / ROUND_MS) }, (_, index) =>
    Math.min(ROUND_MS, totalMs - index * ROUND_MS),
  );
  return { seed: values.seed, rounds, atOnce: 4, leaseMs: LEASE_MS };
}

/** Tries them all; whether nothing was wrong. */
async function allPartitions(site: Site): Promise<boolean> {
  heading('Partitions');
  const host = await site.network.add('y');
  const other = await Application.start(host, { urls: site.urls, leaseMs: LEASE_MS });
  let isRight = true;
  let slowestMs = 0;
  const told: Record<string, number> = {};
  const errors: Record<string, number> = {};
  try {
    for (const batch of ALL) {
      const { outcomes, wrong } = await runPartitions(site, other, batch);
      for (const { partition, ended } of outcomes) {
        const how = ended.map((each) => `${each.told} (${each.ms} ms)`).join(', ');
        say(`  ${partition.name}: ${how}`);
        for (const each of ended) {
          told[each.told] = (told[each.told] ?? 0) + 1;
          if (each.error !== undefined) errors[each.error.name] = (errors[each.error.name] ?? 0) + 1;
          if (partition.paused !== true) slowestMs = Math.max(slowestMs, each.ms);
        }
      }
      for (const each of wrong) say(`  WRONG: ${each}`);
      isRight &&= wrong.length === 0;
    }
  } finally {
    await other.kill();
  }
  heading('Figures');
  const of = (counts: Record<string, number>): string =>
    Object.entries(counts)
      .map(([name, count]) => `${number(count)} ${name}`)
      .join(', ');
  say(`  ${number(ALL.flat().length)} partitions; callers were told: ${of(told)}`);
  say(`  errors: ${of(errors)}`);
  say(`  the longest time until a caller was told, of a process that wasn't paused: ${number(slowestMs)} ms`);
  return isRight;
}

/** Lets chance try; whether all rules hold. */
async function random(site: Site, options: RoundsOptions): Promise<boolean> {
  const totalMs = options.rounds.reduce((sum, ms) => sum + ms, 0);
  heading(`Machines and cut links: ${(totalMs / 60_000).toFixed(1)} minutes, seed ${options.seed}`);
  const { tally, happened, errors, checks } = await runRounds(site, options, ({ breaches, settledMs }, { told }) =>
    say(
      `  ${number(told.committed)} committed, ${number(told.aborted)} aborted, ${number(told['in doubt'])} in doubt; at rest after ` +
        `${(settledMs / 1000).toFixed(1)} s, ${breaches.length === 0 ? 'all rules hold' : `${breaches.length} breaches`}`,
    ),
  );
  const { told, ways, resolved, recovered } = tally;
  const list = (counts: Iterable<readonly [string, number]>): string =>
    [...counts].map(([name, count]) => `${number(count)} ${name}`).join(', ');
  const longest = (of: readonly number[]): string => `${(Math.max(0, ...of) / 1000).toFixed(1)} s`;
  heading('Figures');
  table([
    ['transfers', tally.transfers, 'of which the callers were told how they ended'],
    ['  committed', told.committed, list(Object.entries(ways))],
    ['  aborted', told.aborted, `${number(tally.thrown)} on purpose, ${number(tally.timedOut)} timed out`],
    ['  in doubt', told['in doubt'], `later resolved: ${list(Object.entries(resolved))}`],
    ['  unknown', told.unknown, 'the reply to the commit of one bank was lost, and nobody could say what became of it'],
    ['tried again', tally.retries, ''],
    ['committed, not yet followed', tally.pending, 'left to recovery'],
    [
      'recovered branches',
      tally.recoveredBranches,
      `${number(recovered.committed)} committed, ${number(recovered.rolledBack)} rolled back`,
    ],
    ['taken for dead', recovered.fenced, `${number(tally.fencedFound)} times the process was alive, and found out`],
    ['cuts', Object.values(happened).reduce((sum, count) => sum + count, 0), list(Object.entries(happened))],
    [
      'checks',
      checks.length,
      `longest until all were told: ${longest(checks.filter((each) => each.wasCutOff).map((each) => each.toldMs))} cut off, ` +
        `${longest(checks.filter((each) => !each.wasCutOff).map((each) => each.toldMs))} not; until nothing was left: ${longest(checks.map((each) => each.settledMs))}`,
    ],
  ]);
  say(`\n  errors: ${list(errors)}`);
  const breaches = checks.at(-1)?.breaches ?? [];
  for (const { rule, what } of breaches.slice(0, 20)) say(`  ${rule}: ${what}`);
  const findings = (Object.keys(RULES) as Rule[]).map((rule): Finding => {
    const count = breaches.filter((each) => each.rule === rule).length;
    return { holds: count === 0, what: RULES[rule], seen: count === 0 ? '' : `${number(count)} times not` };
  });
  const left = checks.filter(({ wereLeft }) => wereLeft).length;
  findings.push({
    holds: left === 0,
    what: 'every caller is told in bounded time, also where nothing is reached',
    seen: left === 0 ? '' : `${number(left)} times not`,
  });
  return showFindings(findings, 'Nothing was half done.');
}

async function main(): Promise<number> {
  let options: RoundsOptions | undefined;
  try {
    options = optionsOf(process.argv.slice(2));
  } catch (error) {
    console.error((error as Error).message);
    return 2;
  }
  const why = whyNoNetwork();
  if (why !== undefined) {
    console.error(why);
    return 2;
  }
  const site = await Site.open();
  try {
    return (options === undefined ? await allPartitions(site) : await random(site, options)) ? 0 : 1;
  } finally {
    await site.close();
  }
}

process.exitCode = await main();
