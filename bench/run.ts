// Measures the package, built as it is published.
//
//   npm run bench -- [--table 1] [--table 2] [--leaks] [--quick] [--json] [--built <folder>] [--compare <folder>]
//
// Without --table or --leaks: both tables. --leaks looks for what transactions leave behind, and fails where there is something. --quick measures less, for trying the suite itself. --built takes what was built before
// into a folder, --compare adds rows for another build; --keep leaves the build where it is, and says where.
import { parseArgs } from 'node:util';
import { resolve } from 'node:path';
import { startEmbeddedPostgres } from '../examples/support/postgres.ts';
import { build } from './build.ts';
import { printCoordinator } from './coordinator/print.ts';
import { measureCoordinator } from './coordinator/table.ts';
import { lookForLeaks, printLeaks } from './leaks.ts';
import { describeMachine, printMachine } from './machine.ts';
import { printPostgres } from './postgres/print.ts';
import { createAccounts, measurePostgres } from './postgres/table.ts';

const { values } = parseArgs({
  options: {
    table: { type: 'string', multiple: true },
    leaks: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    built: { type: 'string' },
    compare: { type: 'string' },
  },
});
const tables = values.table ?? (values.leaks ? [] : ['1', '2']);
const unknown = tables.find((table) => table !== '1' && table !== '2');
if (unknown !== undefined) throw new Error(`there are tables 1 and 2, none '${unknown}'`);

const { quick } = values;
const folder = values.built === undefined ? build(values.keep) : resolve(values.built);
const compare = values.compare === undefined ? undefined : resolve(values.compare);
const machine = describeMachine();
const say = (print: () => void): void => {
  if (!values.json) print();
};
say(() => printMachine(machine));

const results: Record<string, unknown> = { machine };
if (tables.includes('1')) {
  const coordinator = await measureCoordinator({ folder, quick });
  results['coordinator'] = coordinator;
  say(() => printCoordinator(coordinator));
}
if (tables.includes('2')) {
  // Each contender keeps 16 connections open.
  const server = await startEmbeddedPostgres({ settings: { max_connections: 300 } });
  try {
    const version = await createAccounts(server.url());
    say(() => console.log(`\nPostgreSQL ${version}`));
    const postgres = await measurePostgres({ folder, compare, url: server.url(), quick });
    results['postgres'] = { version, tables: postgres };
    say(() => printPostgres(postgres));
  } finally {
    await server.stop();
  }
}
if (values.leaks) {
  const leaks = await lookForLeaks({ folder, quick });
  results['leaks'] = leaks;
  say(() => printLeaks(leaks));
  // Of time nothing is asked that could fail; of what is left over, all.
  if (!leaks.held) process.exitCode = 1;
}
if (values.json) console.log(JSON.stringify(results, undefined, 2));
