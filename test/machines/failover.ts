// A bank whose two databases are pairs of a primary and a standby, of which the first keeps the decisions, and two applications.
import { type BankState, postgresBooks } from '../soak/ledgers.ts';
import type { BankName } from '../soak/setting.ts';
import type { Move } from '../soak/transfer.ts';
import { Application } from './applications.ts';
import type { Host, Network } from './network.ts';
import { type Books, LEASE_MS } from './partitions.ts';
import { type HostedServer, ask } from './servers.ts';

/** What is looked at: in the servers that count. */
export function booksOf(a: HostedServer, b: HostedServer): Books {
  const using = async <T>(use: (books: readonly ReturnType<typeof postgresBooks>[]) => Promise<T>): Promise<T> => {
    const books = [a, b].map((server) => postgresBooks(server.insideUrl('bank')));
    return use(books).finally(() => Promise.all(books.map((each) => each.close())));
  };
  return {
    prepared: () => using(async (books) => (await Promise.all(books.map((each) => each.prepared()))).flat()),
    decisions: () => using(([store]) => store!.decisions()),
    read: () =>
      using(async ([ofA, ofB]): Promise<ReadonlyMap<BankName, BankState>> => {
        return new Map([
          ['a', await ofA!.read()],
          ['b', await ofB!.read()],
        ]);
      }),
  };
}

export async function resetBank(...servers: readonly HostedServer[]): Promise<void> {
  for (const server of servers) {
    const books = postgresBooks(server.insideUrl('bank'));
    await books.reset().finally(() => books.close());
  }
}

/** The transfers that a ledger has. */
export async function transfersIn(server: HostedServer): Promise<string[]> {
  const rows = await ask<{ transfer: string }>(server, 'select transfer from ledger order by transfer', 'bank');
  return rows.map(({ transfer }) => transfer);
}

/** From an account to the same one of the other bank. */
export function across(account: number): Move[] {
  return [
    { bank: 'a', account, amount: -1 },
    { bank: 'b', account, amount: 1 },
  ];
}

/** Between two accounts of the bank with the decisions. */
export function within(account: number): Move[] {
  return [
    { bank: 'a', account, amount: -1 },
    { bank: 'a', account: account + 30, amount: 1 },
  ];
}

/** Starts the application on a host of its own. */
export async function startOn(network: Network, name: string, a: string, b: string): Promise<Application> {
  const host: Host = await network.add(name);
  return await Application.start(host, { urls: { a, b }, leaseMs: LEASE_MS });
}
