// Measures the package, built as it is published.
//
//   npm run bench -- [--table 2] [--only mariadb] [--leaks] [--load] [--quick] [--json <file>] …
//
// What is measured: without --table, --only, --leaks or --load all tables. --table takes a number, --only a part of a table (--list says which
// there are, and how long they take); both may be given more than once. --leaks looks for what transactions leave behind; --load
// works for --minutes 10 with more clients than connections, where many transactions fail. Both fail where something is left over.
//
// How: --clients 16 and --contender kysely measure only these (each may be given more than once; the baseline is always there);
// --delay 0.5 makes each round trip to a server so many milliseconds longer; --rounds 7 in place of the usual number; --no-counts
// leaves out the count of round trips and fsyncs; --quick measures less, for trying the suite itself.
//
// What becomes of it: tables are printed as they are done, and how much time is left on stderr. --json <file> keeps all results in a
// file, from the first round on, beside what earlier runs have kept there; --show <file> prints them, --plot <file> draws tables 2
// and 4 into docs/performance.svg, or into --svg <file>.
//
// What is built: --built takes what was built before into a folder, --compare adds rows for another build; --keep leaves the
// build where it is, and says where.
import { parseArgs } from 'node:util';
import { resolve } from 'node:path';
import { ServerUnavailable } from '../examples/support/unavailable.ts';
import { build } from './build.ts';
import { describeMachine, printMachine } from './machine.ts';
import type { Choice } from './options.ts';
import { plot } from './plot.ts';
import { Progress, minutes } from './progress.ts';
import { ResultFile, keyOf, partOf, readResults } from './results.ts';
import { type Part, chosen, extras, partNamed } from './tables.ts';

const { values } = parseArgs({
  allowNegative: true,
  options: {
    table: { type: 'string', multiple: true, default: [] },
    only: { type: 'string', multiple: true, default: [] },
    leaks: { type: 'boolean', default: false },
    load: { type: 'boolean', default: false },
    minutes: { type: 'string', default: '10' },
    list: { type: 'boolean', default: false },
    clients: { type: 'string', multiple: true },
    contender: { type: 'string', multiple: true, default: [] },
    delay: { type: 'string' },
    rounds: { type: 'string' },
    counts: { type: 'boolean', default: true },
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    show: { type: 'string' },
    plot: { type: 'string' },
    svg: { type: 'string', default: 'docs/performance.svg' },
    keep: { type: 'boolean', default: false },
    built: { type: 'string' },
    compare: { type: 'string' },
  },
});

function positive(option: string, text: string): number {
  const number = Number(text);
  if (number > 0) return number;
  throw new Error(`--${option} takes a number above zero, not '${text}'`);
}

const choice: Choice = {
  quick: values.quick,
  rounds: values.rounds === undefined ? undefined : positive('rounds', values.rounds),
  clients: values.clients?.map((text) => positive('clients', text)),
  contenders: values.contender,
  compares: values.compare !== undefined,
  counts: values.counts,
  delayMs: values.delay === undefined ? 0 : positive('delay', values.delay),
  minutes: positive('minutes', values.minutes),
};

function partsToMeasure(): readonly Part<unknown>[] {
  const { table, only, leaks, load } = values;
  const more = [...(leaks ? [extras.leaks] : []), ...(load ? [extras.load] : [])] as Part<unknown>[];
  const all = more.length > 0 && table.length + only.length === 0 ? [] : chosen(table, only);
  return [...(choice.delayMs > 0 ? all.filter(({ canBeDelayed }) => canBeDelayed) : all), ...more];
}

function list(parts: readonly Part<unknown>[]): void {
  for (const part of parts)
    console.log(`table ${part.table}  ${minutes(part.seconds(choice)).padStart(6)}  ${part.name}`);
}

function show(file: string): void {
  for (const [key, { date, machine, complete, result }] of Object.entries(readResults(file))) {
    console.log(`\n${key}, ${date}${complete ? '' : ', NOT COMPLETE'}`);
    printMachine(machine);
    partNamed(partOf(key))?.print(result);
  }
}

async function measure(parts: readonly Part<unknown>[], folder: string): Promise<void> {
  const progress = new Progress(parts.reduce((sum, part) => sum + part.seconds(choice), 0));
  const compare = values.compare === undefined ? undefined : resolve(values.compare);
  const file = new ResultFile(values.json);
  const asked = values.table.length + values.only.length > 0;
  printMachine(describeMachine());
  for (const part of parts) {
    const head = { date: new Date().toISOString(), machine: describeMachine() };
    const save = (result: unknown, complete = false): void =>
      file.write(keyOf(part.name, choice.delayMs), { ...head, complete, result });
    try {
      const result = await part.measure({ ...choice, folder, compare, progress }, save);
      save(result, true);
      // Of time nothing is asked that could fail; of what is left over, all.
      if ((result as { held?: boolean }).held === false) process.exitCode = 1;
    } catch (error) {
      // What was asked for by name must be there.
      if (asked || !(error instanceof ServerUnavailable)) throw error;
      console.log(`\nLeft out, '${part.name}': ${error.message}`);
    }
  }
}

async function run(): Promise<void> {
  const parts = partsToMeasure();
  if (values.list) return list(parts);
  if (values.show !== undefined) return show(values.show);
  if (values.plot !== undefined) return plot(values.plot, values.svg);
  const folder = values.built === undefined ? build(values.keep) : resolve(values.built);
  await measure(parts, folder);
}

await run();
