// Looks for what is left over after many transactions: memory, listeners, connections, and what a server keeps.
import { join } from 'node:path';
import { startEmbeddedPostgres } from '../examples/support/postgres.ts';
import { Contender } from './contender.ts';
import type { LeakAnswer, LeakRequest } from './leaks/report.ts';
import { createAccounts } from './postgres/accounts.ts';
import { printTable } from './text.ts';

export type LeakOptions = {
  readonly folder: string;
  readonly quick: boolean;
};

export type LeakResults = {
  readonly coordinator: LeakAnswer;
  readonly postgres: LeakAnswer;
  /** Whether nothing is left over. */
  readonly held: boolean;
};

const requests: Record<'full' | 'quick', LeakRequest> = {
  full: { transactions: 100_000, warmUp: 20_000, blocks: 20, clients: 16 },
  quick: { transactions: 10_000, warmUp: 10_000, blocks: 5, clients: 16 },
};

export async function lookForLeaks({ folder, quick }: LeakOptions): Promise<LeakResults> {
  const request = requests[quick ? 'quick' : 'full'];
  const look = async (name: string, ...args: string[]): Promise<LeakAnswer> => {
    const process = await Contender.start(name, join(folder, 'bench', 'leaks', `${name}.js`), args);
    try {
      return await process.ask<LeakAnswer>('look', request);
    } finally {
      await process.stop();
    }
  };
  const coordinator = await look('coordinator');
  const server = await startEmbeddedPostgres({ databases: ['other'] });
  try {
    const urls = [server.url(), server.url('other')];
    for (const url of urls) await createAccounts(url);
    const postgres = await look('postgres', ...urls);
    const held = [coordinator, postgres].every(({ findings }) => findings.every((each) => each.held));
    return { coordinator, postgres, held };
  } finally {
    await server.stop();
  }
}

export function printLeaks({ coordinator, postgres }: LeakResults): void {
  print('the coordinator alone', coordinator);
  print('PostgreSQL', postgres);
}

function print(title: string, answer: LeakAnswer): void {
  const { transactions, warmUp, blocks, seconds, heaps, endings, findings } = answer;
  console.log(
    `\nLeaks, ${title}: ${transactions} transactions in ${blocks} blocks behind ${warmUp} to warm up, ${seconds.toFixed(0)} s\n`,
  );
  printTable(
    ['kind', 'ended'],
    Object.entries(endings).map(([kind, ends]) => [
      kind,
      Object.entries(ends)
        .map(([end, count]) => `${count} ${end}`)
        .join(', '),
    ]),
  );
  console.log(`\nHeap behind each block, kB: ${heaps.map((bytes) => (bytes / 1000).toFixed(0)).join(' ')}\n`);
  printTable(
    ['left over', 'found', 'allowed', ''],
    findings.map(({ title, found, allowed, held }) => [title, found, allowed, held ? 'holds' : 'MISSED']),
  );
}
