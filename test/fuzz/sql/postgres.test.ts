// Protects what an optimisation of the PostgreSQL session could break: random scripts are answered as by hand, over one plain connection with
// explicit BEGIN, SAVEPOINT and COMMIT, and leave the same behind.
import { postgres } from '../../support/servers.ts';
import { assert, suite } from '../../support/suite.ts';
import { fuzzSql } from './fuzz.ts';
import { postgresDialect } from './postgres.ts';

const RUNS = 500;
const LIMIT_MS = 6_000;

const test = suite('random scripts on PostgreSQL', { timeoutMs: 120_000 });
const server = await postgres();
const dialect = postgresDialect({ through: await server.database('through'), byHand: await server.database('hand') });

test('random scripts are answered through the library as by hand, and leave the same behind', async () => {
  const { done, failure } = await fuzzSql([dialect], { runs: RUNS, seed: 20_261_121, limitMs: LIMIT_MS });
  assert.is(failure, undefined, failure);
  assert.ok(done['transactions']! > 0);
});
