// A deployment for tests of the command line: two databases of PostgreSQL and one of MariaDB, and for each test a decision store of its own, so
// that it sees nothing of others.
import mysqlDriver from 'mysql2/promise';
import pgDriver from 'pg';
import { mariadb, postgres } from '../support/servers.ts';
import { type Application, Project, type Stop, Stopped } from './setup.ts';

const server = await postgres();
const maria = await mariadb();
export const project = await Project.create();
export const bank = await withMoves(server.database('bank'));
export const audit = await withMoves(server.database('audit'));
export const stock = await withMoves(maria.database('stock'));

/** Drops all; here rather than at the end of the process, because many databases take their time. */
export async function clear(): Promise<void> {
  await Promise.all([project.delete(), server.stop(), maria.stop()]);
}

async function withMoves(created: Promise<string>): Promise<string> {
  const url = await created;
  await query(url, 'create table moves (id varchar(64))');
  return url;
}

/** The rows of a statement. */
export async function query(url: string, text: string): Promise<any[]> {
  if (url.startsWith('mysql:')) {
    const connection = await mysqlDriver.createConnection(url);
    const [rows] = await connection.query(text);
    await connection.end();
    return rows as any[];
  }
  const client = new pgDriver.Client(url);
  await client.connect();
  const { rows } = await client.query(text);
  await client.end();
  return rows;
}

/** In how many databases something of a transaction is stored, by address. */
export async function stored(gid: string, urls: readonly string[]): Promise<number[]> {
  return Promise.all(urls.map(async (url) => (await query(url, `select id from moves where id = '${gid}'`)).length));
}

/** A decision store of its own, so that a test sees nothing of others, and the command line configured for it. */
export async function world(resources: Record<string, string>, kind: 'postgres' | 'mariadb' = 'postgres') {
  const store = kind === 'postgres' ? await server.database('store') : await maria.database('store');
  const configure = (others: Record<string, string> = resources): Promise<void> =>
    project.write('unanimous.config.json', JSON.stringify({ store, resources: others, app: 'shop' }));
  await configure();
  const start = (stop: Stop, options: Partial<Application> = {}): Promise<Stopped> =>
    Stopped.start(project, { store, resources, ...options }, stop);
  /** As if the process of a transaction had not renewed its lease in time. */
  const silence = async (gid: string): Promise<void> => {
    const ended = "expires_at = now() - interval '1' second";
    await query(store, `update unanimous_lease set ${ended} where incarnation = '${gid.split(':')[2]}'`);
  };
  return { store, configure, start, silence };
}
