// What must hold afterwards, as everybody else sees it.
import type { Finding } from '../support/findings.ts';
import { number } from '../support/terminal.ts';
import type { Outside } from './outside.ts';
import type { Tally } from './tally.ts';

export async function checkInvariants(outside: Outside, tally: Tally): Promise<Finding[]> {
  const { orders, stock, cache, files, mail } = await outside.count();
  const { prepared, staged } = await outside.leftovers();
  const waiting = await outside.waitingMails();
  const same = (count: number, what: string, seen: string): Finding => ({
    holds: count === tally.done,
    what,
    seen,
  });
  return [
    same(orders, 'every order that was placed, and no other, is stored', `${number(orders)} in PostgreSQL`),
    same(stock, 'the stock is smaller by these', `${number(stock)} taken in MariaDB`),
    same(cache, 'the cache has an entry for each of these', `${number(cache)} in Redis`),
    same(files, 'the file of each of these is in place', `${number(files)} renamed`),
    same(mail + waiting, 'a mail was sent for each of these, or waits in the outbox', `${mail} sent, ${waiting} wait`),
    { holds: prepared === 0, what: 'nothing is left prepared', seen: `${prepared} in both databases` },
    { holds: staged === 0, what: 'no file is left staged', seen: `${staged} in the folder` },
    {
      holds: tally.unexpected.length === 0,
      what: 'nothing came out otherwise than it should',
      seen: `${tally.unexpected.length} surprises`,
    },
  ];
}
