// The servers of the soak, which may be killed, and the links of each teller to each of them. What can't be had is left out, and said.
import { type EmbeddedMariadb, startMariadb } from '../../examples/support/mariadb.ts';
import { startEmbeddedPostgres } from '../../examples/support/postgres.ts';
import { startRedis } from '../../examples/support/redis.ts';
import type { EmbeddedServer } from '../../examples/support/server-process.ts';
import { ServerUnavailable } from '../../examples/support/unavailable.ts';
import { type TcpProxy, tcpProxy } from '../support/proxy.ts';
import { startOrInstall } from '../support/servers/install.ts';
import { type BankBooks, type StoreBooks, mariadbBooks, postgresBooks, resetCounters } from './ledgers.ts';
import type { BankName, ServerName } from './setting.ts';

/** A server, and the address of what is in use there. */
interface Place {
  readonly server: EmbeddedServer;
  readonly url: string;
}

const MOST_PREPARED = 200;
const CONNECTIONS = 300;

export class World {
  readonly places: ReadonlyMap<ServerName, Place>;
  /** What is left out, and why. */
  readonly missing: readonly string[];
  readonly #links: readonly ReadonlyMap<ServerName, TcpProxy>[];

  private constructor(
    places: ReadonlyMap<ServerName, Place>,
    missing: readonly string[],
    links: readonly ReadonlyMap<ServerName, TcpProxy>[],
  ) {
    this.places = places;
    this.missing = missing;
    this.#links = links;
  }

  /** Starts the servers, with links for so many tellers. */
  static async open(tellers: number): Promise<World> {
    const missing: string[] = [];
    const orMissing = async (start: Promise<Place>): Promise<Place | undefined> => {
      try {
        return await start;
      } catch (error) {
        if (!(error instanceof ServerUnavailable)) throw error;
        missing.push(error.message);
        return undefined;
      }
    };
    const [a, b, c, redis] = await Promise.all([
      startPostgres(),
      startPostgres(),
      orMissing(startBankC()),
      orMissing(startCounters()),
    ]);
    const found = Object.entries({ a, b, c, redis }).filter(([, place]) => place !== undefined);
    const places = new Map(found as [ServerName, Place][]);
    const links = await Promise.all(Array.from({ length: tellers }, () => openLinks(places)));
    const world = new World(places, missing, links);
    await world.reset();
    return world;
  }

  get servers(): readonly ServerName[] {
    return [...this.places.keys()];
  }

  get banks(): readonly BankName[] {
    return this.servers.filter((name): name is BankName => name !== 'redis');
  }

  link(teller: number, server: ServerName): TcpProxy {
    return this.#links[teller]!.get(server)!;
  }

  /** The addresses for a teller: through its links. */
  urlsFor(teller: number): { [S in ServerName]?: string } {
    return Object.fromEntries([...this.places].map(([name, { url }]) => [name, this.link(teller, name).url(url)]));
  }

  server(name: ServerName): EmbeddedServer {
    return this.places.get(name)!.server;
  }

  /** The books of a bank, over connections that nothing happens to; to be closed. */
  books(bank: BankName): BankBooks {
    const { url } = this.places.get(bank)!;
    return bank === 'c' ? mariadbBooks(url) : postgresBooks(url);
  }

  /** The same of the bank where the decisions are. */
  storeBooks(): StoreBooks {
    return postgresBooks(this.places.get('a')!.url);
  }

  /** All accounts as they are at the beginning, nothing prepared, nothing decided. No teller may be there. */
  async reset(): Promise<void> {
    for (const name of this.banks) {
      const books = this.books(name);
      await books.reset().finally(() => books.close());
    }
    const counters = this.places.get('redis');
    if (counters !== undefined) await resetCounters(counters.url);
  }

  async close(): Promise<void> {
    await Promise.all(this.#links.flatMap((links) => [...links.values()].map((link) => link.close())));
    await Promise.all([...this.places.values()].map(({ server }) => server.stop()));
  }
}

async function startPostgres(): Promise<Place> {
  // PostgreSQL looks for deadlocks after a second by default, in which others wait.
  const settings = {
    max_connections: CONNECTIONS,
    max_prepared_transactions: MOST_PREPARED,
    deadlock_timeout: '50ms',
    lock_timeout: '1500ms',
  };
  const server = await startOrInstall(() => startEmbeddedPostgres({ databases: ['bank'], settings }), 'postgresql');
  return { server, url: server.url('bank') };
}

async function startBankC(): Promise<Place> {
  const flags = [`--max-connections=${CONNECTIONS}`, '--innodb-lock-wait-timeout=1'];
  const start = (): Promise<EmbeddedMariadb> => startMariadb({ databases: ['bank'], flags });
  const server = await startOrInstall(start, 'mariadb-server');
  return { server, url: server.url('bank') };
}

/** Keeps what it has acknowledged, as the databases do. */
async function startCounters(): Promise<Place> {
  const flags = ['--appendonly', 'yes', '--appendfsync', 'always'];
  const server = await startOrInstall(() => startRedis({ flags }), 'redis-server');
  return { server, url: server.url };
}

async function openLinks(places: ReadonlyMap<ServerName, Place>): Promise<ReadonlyMap<ServerName, TcpProxy>> {
  const links = new Map<ServerName, TcpProxy>();
  for (const [name, { server }] of places) links.set(name, await tcpProxy(server.port));
  return links;
}
