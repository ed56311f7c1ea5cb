// npm run fuzz -- [--only api|sql|mariadb|both] [--runs N] [--seed S] [--path P] [--seconds N] [--unshrunk]
// npm run fuzz -- --mistakes [--seed S] [--seconds N]: lets it look for mistakes that were put into the sources, N seconds for each
//
// Exits with 1 where something was found: it prints the seed, the path and the shrunk script, with which the same is found again at once.
// Exits with 2 where it was called wrongly.
import { parseArgs } from 'node:util';
import { startMariadb, startPostgres } from '../support/servers.ts';
import { fuzzApi } from './api/check.ts';
import { MUTATIONS, hunt } from './mutations.ts';
import type { FuzzOptions, Fuzzed } from './report.ts';
import { fuzzSql } from './sql/fuzz.ts';
import { mariadbDialect } from './sql/mariadb.ts';
import { POSTGRES_PREPARABLE } from './sql/postgres-statements.ts';
import { postgresDialect } from './sql/postgres.ts';

// What is to be tried is the library: the server needn't survive anything.
const FAST = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' };

const SECONDS_A_MISTAKE = 240;

const KINDS = ['api', 'sql', 'mariadb', 'both'] as const;
type Kind = (typeof KINDS)[number];

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    runs: { type: 'string', default: '1000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    path: { type: 'string' },
    seconds: { type: 'string' },
    unshrunk: { type: 'boolean' },
    mistakes: { type: 'boolean', default: false },
  },
});
const [runs, seed, seconds] = [values.runs, values.seed, values.seconds ?? '0'].map(Number) as [number, number, number];
if (![runs, seed, seconds].every((value) => Number.isSafeInteger(value))) wrong('whole numbers are required');
if (values.only !== undefined && !KINDS.includes(values.only as Kind)) wrong(`--only must be ${KINDS.join(' or ')}`);
const kinds: readonly Kind[] = values.only === undefined ? KINDS : [values.only as Kind];
if (values.path !== undefined && kinds.length > 1) wrong('--path belongs to one kind: say --only too');

function wrong(why: string): never {
  console.error(
    `npm run fuzz -- [--only ${KINDS.join('|')}] [--runs N] [--seed S] [--path P] [--seconds N] [--unshrunk]: ${why}`,
  );
  process.exit(2);
}

const options: FuzzOptions = {
  runs,
  seed,
  path: values.path,
  unshrunk: values.unshrunk,
  limitMs: seconds === 0 ? undefined : (seconds * 1000) / kinds.length,
};

/** Says how much was tried, and what was found. */
function tell(what: string, { done, runs, failure }: Fuzzed): void {
  const counts = Object.entries(done).map(([name, count]) => `${count} ${name}`);
  console.log(`${what}: ${runs} programs from seed ${seed}: ${counts.join(', ')}`);
  console.log(failure ?? 'nothing was found');
  if (failure !== undefined) process.exitCode = 1;
}

async function sql(): Promise<void> {
  const server = await startPostgres({ settings: FAST });
  try {
    const urls = { through: await server.database('through'), byHand: await server.database('hand') };
    tell('PostgreSQL', await fuzzSql([postgresDialect(urls)], options));
  } finally {
    await server.stop();
  }
}

async function mariadb(): Promise<void> {
  const server = await startMariadb();
  try {
    const urls = { through: await server.database('through'), byHand: await server.database('hand') };
    tell('MariaDB', await fuzzSql([mariadbDialect(urls)], options));
  } finally {
    await server.stop();
  }
}

/** One transaction over PostgreSQL, where decisions are written down, and MariaDB. */
async function both(): Promise<void> {
  const servers = [await startPostgres({ settings: FAST }), await startMariadb()] as const;
  try {
    const [pg, maria] = await Promise.all(
      servers.map(async (server) => ({
        through: await server.database('through'),
        byHand: await server.database('hand'),
      })),
    );
    const decides = postgresDialect(pg!, { themes: POSTGRES_PREPARABLE, connections: 3 });
    tell('PostgreSQL and MariaDB', await fuzzSql([decides, mariadbDialect(maria!)], options));
  } finally {
    for (const server of servers) await server.stop();
  }
}

async function api(): Promise<void> {
  tell('the coordinator', await fuzzApi(options));
}

const KIND: Record<Kind, () => Promise<void>> = { api, sql, mariadb, both };

/** Whether each mistake that was put into the sources is found. */
async function mistakes(): Promise<void> {
  for (const mutation of MUTATIONS) {
    const { isFound } = await hunt(mutation, { seed, seconds: seconds === 0 ? SECONDS_A_MISTAKE : seconds });
    console.log(`${isFound ? 'found' : 'MISSED'}  ${mutation.kind}: ${mutation.name}`);
    if (!isFound) process.exitCode = 1;
  }
}

if (values.mistakes) await mistakes();
else for (const kind of kinds) await KIND[kind]();
// A script that is stuck keeps what it has.
process.exit();
