// Clients of the service, many at once: they order, order too much, order for nobody, and go away without waiting for the answer.
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { articles, customers } from './outside.ts';
import type { OrderRequest } from './service.ts';

const CLIENTS = 24;
const LONGEST_PATIENCE_MS = 30;

/** What a client has of one order. */
export type Seen = 'placed' | 'too few' | 'failed' | 'gone';

/** What all of them have seen, by the key of the order. */
export type Tally = ReadonlyMap<string, Seen>;

/** Sends so many orders, and resolves when each is answered or given up. */
export async function load(port: number, count: number, onDone: (done: number) => void): Promise<Tally> {
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  const tally = new Map<string, Seen>();
  let next = 0;
  const client = async (): Promise<void> => {
    while (next < count) {
      const order = orderOf(next++);
      tally.set(order.key, await send(port, agent, order));
      onDone(tally.size);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  agent.destroy();
  return tally;
}

/** The same orders in each run; what becomes of them is another matter. */
function orderOf(index: number): OrderRequest & { readonly isImpatient: boolean } {
  const customer = index % 11 === 0 ? 'nobody' : customers[index % customers.length]!;
  // Most name the smaller number first; the others may meet one of these in a deadlock.
  const pair = [1 + (index % (articles - 1)), articles];
  if (index % 10 === 3) pair.reverse();
  const quantities = [1 + (index % 3), index % 13 === 0 ? 30 : 2];
  const lines = pair.map((article, place) => ({ article, quantity: quantities[place]! }));
  return { key: `order-${index}`, customer, lines, isImpatient: index % 7 === 0 };
}

function send(port: number, agent: Agent, order: ReturnType<typeof orderOf>): Promise<Seen> {
  const { isImpatient, ...body } = order;
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    const asked = request({ host: '127.0.0.1', port, method: 'POST', path: '/orders', headers, agent }, (response) => {
      response.resume().on('end', () => resolve(seenOf(response.statusCode!)));
      response.on('error', () => resolve('gone'));
    });
    let hasLeft = false;
    asked.on('error', (error) => (hasLeft ? resolve('gone') : reject(error)));
    asked.end(JSON.stringify(body));
    if (!isImpatient) return;
    void sleep(Math.random() * LONGEST_PATIENCE_MS).then(() => {
      hasLeft = true;
      asked.destroy(new Error('gone'));
    });
  });
}

function seenOf(status: number): Seen {
  if (status === 201) return 'placed';
  return status === 409 ? 'too few' : 'failed';
}
