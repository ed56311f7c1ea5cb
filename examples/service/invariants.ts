// What must hold when the load is over.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Finding } from '../support/findings.ts';
import { number } from '../support/terminal.ts';
import type { Seen, Tally } from './load.ts';
import type { Outside, Stored } from './outside.ts';
import type { Service } from './service.ts';

const LONGEST_WAIT_MS = 30_000;

/** Mails and counts are delivered behind the commits: waits until that is done, or for as long as it may take. */
export async function settled(outside: Outside, mails: readonly string[]): Promise<Stored> {
  const deadline = performance.now() + LONGEST_WAIT_MS;
  for (;;) {
    const stored = await outside.look();
    const rows = stored.orders.size;
    if (mails.length >= rows && (stored.counted ?? rows) >= rows) return stored;
    if (performance.now() > deadline) return stored;
    await sleep(50);
  }
}

export function checkInvariants(tally: Tally, stored: Stored, mails: readonly string[], { pool }: Service): Finding[] {
  const { orders, ordered, taken, lowest, counted, prepared } = stored;
  const keys = (seen: Seen): string[] => [...tally].filter(([, each]) => each === seen).map(([key]) => key);
  const missing = keys('placed').filter((key) => !orders.has(key));
  const refused = [...keys('too few'), ...keys('failed')].filter((key) => orders.has(key));
  const wanted = [...orders.values()].map((id) => `Order ${id}`).toSorted();
  const findings: Finding[] = [
    {
      holds: missing.length === 0,
      what: 'every order of which the client was told is stored',
      seen: `${number(keys('placed').length)} told, ${missing.length} missing`,
    },
    {
      holds: refused.length === 0,
      what: 'nothing is stored of an order that was answered with an error',
      seen: `${number(keys('too few').length + keys('failed').length)} answered, ${refused.length} stored`,
    },
    { holds: lowest >= 0, what: 'no stock is negative', seen: `the smallest is ${lowest}` },
    { holds: taken === ordered, what: 'the stock is smaller by what was ordered', seen: `${taken} of ${ordered}` },
    {
      holds: mails.toSorted().join() === wanted.join(),
      what: 'one mail was sent for each order, and for nothing else',
      seen: `${number(mails.length)} mails for ${number(orders.size)} orders`,
    },
    {
      holds: pool.idleCount === pool.totalCount && pool.waitingCount === 0 && prepared === 0,
      what: 'every connection is idle, and nothing is left prepared',
      seen: `${pool.totalCount} connections, ${prepared} prepared`,
    },
  ];
  if (counted !== undefined) {
    findings.push({ holds: counted === orders.size, what: 'Redis has counted as many orders', seen: number(counted) });
  }
  return findings;
}
