// Starts the servers that the files of a run share, each once, and only those that a file asks for.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ServerUnavailable } from '../../../examples/support/unavailable.ts';
import type { Variables } from './install.ts';
import { connectMariadb, connectMysql, mariadbVariables, mysqlVariables } from './mariadb.ts';
import { connectPostgres, postgresVariables } from './postgres.ts';
import { connectRedis, redisVariables } from './redis.ts';

type Shared = { readonly url: string; stop(): Promise<void> };

type Kind = {
  /** What a file says that uses it. One that is missed here starts a server of its own. */
  readonly call: RegExp;
  readonly variables: Variables;
  connect(): Promise<Shared>;
};

// MariaDB is first, because the first steps of PostgreSQL's start keep this process from anything else.
const kinds: readonly Kind[] = [
  { call: /\bmariadb\(\)/, variables: mariadbVariables, connect: connectMariadb },
  { call: /\bmysql\(\)/, variables: mysqlVariables, connect: connectMysql },
  { call: /\bredis\(\)/, variables: redisVariables, connect: connectRedis },
  { call: /\bpostgres\(\)/, variables: postgresVariables, connect: connectPostgres },
];

/** The servers of a run. */
export type SharedServers = {
  /** The variables that tell the files where they are. */
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
};

/** Starts the servers that these files ask for; what is not to be had is said, and told to the files. */
export async function startShared(files: readonly string[]): Promise<SharedServers> {
  const sources = new Map<string, string>();
  for (const file of files) readWithImports(file, sources);
  const text = [...sources.values()].join('\n');
  const wanted = kinds.filter(({ call }) => call.test(text));
  const started = await Promise.allSettled(wanted.map((kind) => startOne(kind)));
  const servers = started.filter((each) => each.status === 'fulfilled').map((each) => each.value);
  const stop = async (): Promise<void> => void (await Promise.all(servers.map((each) => each.stop())));
  const failed = started.find((each) => each.status === 'rejected');
  if (failed !== undefined) {
    await stop();
    throw failed.reason;
  }
  return { env: Object.assign({}, ...servers.map((each) => each.env)) as Record<string, string>, stop };
}

async function startOne({ variables, connect }: Kind): Promise<SharedServers> {
  try {
    const server = await connect();
    return { env: { [variables.url]: server.url }, stop: () => server.stop() };
  } catch (error) {
    if (!(error instanceof ServerUnavailable)) throw error;
    console.log(error.message);
    return { env: { [variables.missing]: error.message }, stop: async () => {} };
  }
}

/** Reads a file and what it imports from the tests, but not from here, where every server is mentioned. */
function readWithImports(file: string, sources: Map<string, string>): void {
  if (sources.has(file) || !existsSync(file)) return;
  const text = readFileSync(file, 'utf8');
  sources.set(file, text);
  for (const [, path] of text.matchAll(/\bfrom '(\.[^']+\.ts)'/g)) {
    const imported = join(dirname(file), path!);
    if (imported.startsWith(testFolder) && !imported.startsWith(join(testFolder, 'support/servers'))) {
      readWithImports(imported, sources);
    }
  }
}

const testFolder = join(import.meta.dirname, '../..');
