// The suite is only worth what it finds: every mutant must be found, and every check must find one.
import { ConformanceError, type ConformanceCheck, dataManagerConformance } from 'unanimous/testing';
import { assert, suite } from '../../support/suite.ts';
import { subjectOf } from './mutant.ts';
import { committing } from './mutants/committing.ts';
import { failing } from './mutants/failing.ts';
import { joining } from './mutants/joining.ts';
import { savepoints } from './mutants/savepoints.ts';
import { undoing } from './mutants/undoing.ts';
import { ways } from './mutants/ways.ts';

const mutants = [...joining, ...committing, ...ways, ...undoing, ...savepoints, ...failing];
const test = suite('the conformance suite finds');

function find(checks: readonly ConformanceCheck[], name: string): ConformanceCheck {
  const check = checks.find((each) => each.name === name);
  if (check === undefined) throw new Error(`there is no check '${name}'`);
  return check;
}

for (const mutant of mutants) {
  test(mutant.name, async () => {
    const checks = dataManagerConformance(subjectOf(mutant));
    for (const name of mutant.caught) {
      const check = find(checks, name);
      assert.is(check.skip, undefined);
      const error = await assert.rejects(check.run(), ConformanceError, `${name} finds it`);
      assert.ok(error.rule !== undefined, `it says which rule is broken, rather than: ${error.message}`);
    }
  });
}

test('something wrong by each of its checks', () => {
  const all = mutants.flatMap((mutant) => dataManagerConformance(subjectOf(mutant)).map(({ name }) => name));
  const finding = new Set(mutants.flatMap(({ caught }) => caught));
  assert.equal(
    [...new Set(all)].filter((name) => !finding.has(name)),
    [],
  );
});
