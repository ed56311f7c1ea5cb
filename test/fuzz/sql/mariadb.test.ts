// Protects what an optimisation of the MySQL session could break: random scripts are answered as by hand, over one plain connection with
// explicit START TRANSACTION, SAVEPOINT and COMMIT, and leave the same behind.
import { mariadb } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { fuzzSql } from './fuzz.ts';
import { mariadbDialect } from './mariadb.ts';

const RUNS = 500;
const LIMIT_MS = 6_000;

const test = suite('random scripts on MariaDB', { timeoutMs: 120_000 });
const server = await mariadb();
const dialect = mariadbDialect({ through: await server.database('through'), byHand: await server.database('hand') });

test('random scripts are answered through the library as by hand, and leave the same behind', async () => {
  const { done, failure } = await fuzzSql([dialect], { runs: RUNS, seed: 20_261_121, limitMs: LIMIT_MS });
  assert.is(failure, undefined, failure);
  assert.ok(done['transactions']! > 0);
});
