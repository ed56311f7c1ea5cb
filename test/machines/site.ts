// The machines of a bank: three with a database each, of which A keeps the decisions, and any number with the application.
import { type BankBooks, type BankState, mariadbBooks, postgresBooks, type StoreBooks } from '../soak/ledgers.ts';
import type { BankName } from '../soak/setting.ts';
import { type Host, Network } from './network.ts';
import { type HostedServer, ask, startMariadbOn, startPostgresOn } from './servers.ts';

const BANKS = ['a', 'b', 'c'] as const satisfies readonly BankName[];

export class Site {
  readonly network: Network;
  readonly servers: { readonly [B in BankName]: HostedServer };
  readonly #books: { readonly a: StoreBooks; readonly b: BankBooks; readonly c: BankBooks };

  private constructor(network: Network, servers: { readonly [B in BankName]: HostedServer }) {
    this.network = network;
    this.servers = servers;
    this.#books = {
      a: postgresBooks(servers.a.insideUrl('bank')),
      b: postgresBooks(servers.b.insideUrl('bank')),
      c: mariadbBooks(servers.c.insideUrl('bank')),
    };
  }

  static async open(): Promise<Site> {
    const network = await Network.open();
    const hosts = { a: await network.add('a'), b: await network.add('b'), c: await network.add('c') };
    const [c, a, b] = await Promise.all([startMariadbOn(hosts.c), startPostgresOn(hosts.a), startPostgresOn(hosts.b)]);
    for (const server of [a, b]) await ask(server, 'create database bank');
    await createBank(c);
    const site = new Site(network, { a, b, c });
    for (const name of BANKS) await site.#books[name].reset();
    return site;
  }

  /** The addresses for the applications. */
  get urls(): { readonly [B in BankName]: string } {
    const { a, b, c } = this.servers;
    return { a: a.url('bank'), b: b.url('bank'), c: c.url('bank') };
  }

  hostsOf(banks: readonly BankName[]): readonly Host[] {
    return banks.map((name) => this.servers[name].host);
  }

  /** The global ids of what is prepared, in all databases or those. */
  async prepared(banks: readonly BankName[] = BANKS): Promise<string[]> {
    return (await Promise.all(banks.map((name) => this.#books[name].prepared()))).flat();
  }

  /** Decisions that not all have followed yet. */
  decisions(): Promise<string[]> {
    return this.#books.a.decisions();
  }

  async read(): Promise<ReadonlyMap<BankName, BankState>> {
    const states = BANKS.map(async (name) => [name, await this.#books[name].read()] as const);
    return new Map(await Promise.all(states));
  }

  async close(): Promise<void> {
    await Promise.all(Object.values(this.#books).map((books) => books.close()));
    await Promise.all(Object.values(this.servers).map((server) => server.stop()));
    await this.network.close();
  }
}

async function createBank(server: HostedServer): Promise<void> {
  const { default: driver } = await import('mysql2/promise');
  const connection = await driver.createConnection(server.insideUrl(''));
  await connection.query('create database bank');
  await connection.end();
}
