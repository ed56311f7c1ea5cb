// Measures the package, built as it is published.
//
//   npm run bench -- [--table 2] [--only mariadb] [--leaks] [--quick] [--json] [--built <folder>] [--compare <folder>]
//
// Without --table, --only or --leaks: all tables. --table takes 1, 2 or 4; --only a part of one: coordinator (table 1), postgres,
// mariadb, redis (2), postgres+mariadb, postgres+postgres (4); both may be given more than once. --leaks looks for what
// transactions leave behind, and fails where there is something. --quick measures less, for trying the suite itself. --built
// takes what was built before into a folder, --compare adds rows for another build; --keep leaves the build where it is, and
// says where.
import { parseArgs } from 'node:util';
import { resolve } from 'node:path';
import { ServerUnavailable } from '../examples/support/unavailable.ts';
import { build } from './build.ts';
import { lookForLeaks, printLeaks } from './leaks.ts';
import { describeMachine, printMachine } from './machine.ts';
import { chosen } from './tables.ts';

const { values } = parseArgs({
  options: {
    table: { type: 'string', multiple: true, default: [] },
    only: { type: 'string', multiple: true, default: [] },
    leaks: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    built: { type: 'string' },
    compare: { type: 'string' },
  },
});
const { table: tables, only, leaks, quick } = values;
const asked = tables.length > 0 || only.length > 0;
const parts = leaks && !asked ? [] : chosen(tables, only);

const folder = values.built === undefined ? build(values.keep) : resolve(values.built);
const compare = values.compare === undefined ? undefined : resolve(values.compare);
const machine = describeMachine();
const say = (print: () => void): void => {
  if (!values.json) print();
};
say(() => printMachine(machine));

const results: Record<string, unknown> = { machine };
for (const { name, measure } of parts) {
  try {
    const { result, print } = await measure({ folder, compare, quick });
    results[name] = result;
    say(print);
  } catch (error) {
    // What was asked for by name must be there.
    if (asked || !(error instanceof ServerUnavailable)) throw error;
    say(() => console.log(`\nLeft out, '${name}': ${error.message}`));
  }
}
if (leaks) {
  const found = await lookForLeaks({ folder, quick });
  results['leaks'] = found;
  say(() => printLeaks(found));
  // Of time nothing is asked that could fail; of what is left over, all.
  if (!found.held) process.exitCode = 1;
}
if (values.json) console.log(JSON.stringify(results, undefined, 2));
