// Protects expectUpdated: whatever a driver or query builder calls the number of touched rows, none is a conflict.
import { ConfigurationError, OptimisticLockError, expectUpdated } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { thrownBy } from './recording.ts';

const test = suite('expectUpdated');

// As the libraries return it: the results of test/libraries and test/together are real ones.
const results: [string, unknown, unknown][] = [
  ['pg', { command: 'UPDATE', rowCount: 1, rows: [] }, { command: 'UPDATE', rowCount: 0, rows: [] }],
  ['mysql2', [{ affectedRows: 1 }, undefined], [{ affectedRows: 0 }, undefined]],
  ['Kysely', [{ numUpdatedRows: 1n }], [{ numUpdatedRows: 0n }]],
  ['Kysely, one', { numDeletedRows: 2n }, { numDeletedRows: 0n }],
  ['Knex', 1, 0],
  ['TypeORM', { affected: 1, raw: [] }, { affected: 0, raw: [] }],
  ['TypeORM by text', [[], 1], [[], 0]],
  ['Sequelize', [1], [0]],
  ['Sequelize by text', [undefined, 1], [undefined, 0]],
  ['RETURNING', [{ id: 1 }], []],
];

for (const [library, touched, untouched] of results) {
  test(`${library}: one row is returned as it came, none is a transient conflict`, () => {
    assert.is(expectUpdated(touched), touched);
    const error = thrownBy(() => expectUpdated(untouched));
    assert.instance(error, OptimisticLockError);
    assert.is((error as OptimisticLockError).isTransient, true);
  });
}

test('the error names the row', () => {
  const error = thrownBy(() => expectUpdated(0, { table: 'accounts', id: 7, version: 3 }));
  assert.match((error as Error).message, /^the row of accounts with the id 7 in the version 3 must be as it was read/);
});

test('a result that does not say how many rows were touched is refused, rather than taken for success', () => {
  for (const result of [undefined, null, 'UPDATE 1', {}, [undefined, undefined], ['x'], { rows: [] }]) {
    assert.instance(
      thrownBy(() => expectUpdated(result)),
      ConfigurationError,
    );
  }
});
