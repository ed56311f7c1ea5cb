// Looks for what is left over after many transactions: memory, listeners, connections, and what a server keeps.
import { join } from 'node:path';
import { Contender } from './contender.ts';
import type { LeakAnswer, LeakRequest } from './leaks/report.ts';
import type { Choice } from './options.ts';
import { postgresWith, withServers } from './servers.ts';
import type { Part } from './tables.ts';
import { printTable } from './text.ts';

export type LeakResults = {
  readonly coordinator: LeakAnswer;
  readonly postgres: LeakAnswer;
  /** Whether nothing is left over. */
  readonly held: boolean;
};

type Requests = { readonly coordinator: LeakRequest; readonly postgres: LeakRequest };

const full: Requests = {
  coordinator: { transactions: 1_000_000, warmUp: 20_000, blocks: 20, clients: 16 },
  postgres: { transactions: 100_000, warmUp: 20_000, blocks: 20, clients: 16 },
};
const short: LeakRequest = { transactions: 10_000, warmUp: 10_000, blocks: 5, clients: 16 };
const quick: Requests = { coordinator: short, postgres: short };

function requestsOf(choice: Choice): Requests {
  return choice.quick ? quick : full;
}

/** Microseconds of a transaction, about. */
const COORDINATOR_US = 60;
const POSTGRES_US = 1_500;

function secondsOf({ coordinator, postgres }: Requests): number {
  const all = (request: LeakRequest): number => request.transactions + request.warmUp;
  return (all(coordinator) * COORDINATOR_US + all(postgres) * POSTGRES_US) / 1e6;
}

export const leaksPart: Part<LeakResults> = {
  name: 'leaks',
  table: '',
  seconds: (choice) => secondsOf(requestsOf(choice)),
  measure: async (options) => {
    const { folder, progress } = options;
    const requests = requestsOf(options);
    const look = async (name: keyof Requests, ...args: string[]): Promise<LeakAnswer> => {
      progress.did(0, `leaks, ${name}`);
      const process = await Contender.start(name, join(folder, 'bench', 'leaks', `${name}.js`), args);
      try {
        const answer = await process.ask<LeakAnswer>('look', requests[name]);
        printOne(name, answer);
        return answer;
      } finally {
        await process.stop();
      }
    };
    const coordinator = await look('coordinator');
    return withServers([postgresWith(2)], async ([server]) => {
      const postgres = await look('postgres', ...server!.urls);
      progress.did(secondsOf(requests), 'leaks');
      const held = [coordinator, postgres].every(({ findings }) => findings.every((each) => each.held));
      return { coordinator, postgres, held };
    });
  },
  print: ({ coordinator, postgres }) => {
    printOne('coordinator', coordinator);
    printOne('postgres', postgres);
  },
};

const titles: Readonly<Record<keyof Requests, string>> = {
  coordinator: 'the coordinator alone',
  postgres: 'PostgreSQL',
};

function printOne(name: keyof Requests, answer: LeakAnswer): void {
  const { transactions, warmUp, blocks, seconds, heaps, endings, findings } = answer;
  console.log(
    `\nLeaks, ${titles[name]}: ${transactions} transactions in ${blocks} blocks behind ${warmUp} to warm up, ${seconds.toFixed(0)} s\n`,
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
