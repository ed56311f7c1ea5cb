// Makes every round trip to some servers longer: the process of a proxy in front of them.
//
// A timer knows whole milliseconds only, so that this process sleeps for a part of one and looks again. It holds back what a client
// says; the answers pass at once.
import { once } from 'node:events';
import { type AddressInfo, type Socket, createConnection, createServer } from 'node:net';
import { serve } from '../serve.ts';

const [delay, ...ports] = process.argv.slice(2).map(Number) as [number, ...number[]];

type Held = { readonly since: number; readonly pass: () => void };

/** How long the last ones were held back in fact, in milliseconds. */
const times: number[] = [];
const TIMES = 20_000;

const held: Held[] = [];
let looking = false;
const clock = new Int32Array(new SharedArrayBuffer(4));
/** So long at most nobody looks for what comes in, and whether something is due. */
const LONGEST_SLEEP_MS = 0.1;
/** A sleep is longer than it is asked to be. */
const LATE_MS = 0.06;

function hold(pass: () => void): void {
  held.push({ since: performance.now(), pass });
  if (looking) return;
  looking = true;
  setImmediate(look);
}

function look(): void {
  const now = performance.now();
  while (held.length > 0 && held[0]!.since + delay <= now) {
    const { since, pass } = held.shift()!;
    pass();
    if (times.length < TIMES) times.push(now - since);
  }
  looking = held.length > 0;
  if (!looking) return;
  const sleep = Math.min(held[0]!.since + delay - now - LATE_MS, LONGEST_SLEEP_MS - LATE_MS);
  if (sleep > 0) Atomics.wait(clock, 0, 0, sleep);
  setImmediate(look);
}

function connect(client: Socket, port: number): void {
  const server = createConnection({ port, host: '127.0.0.1', noDelay: true });
  client.on('data', (data) => hold(() => server.writable && server.write(data)));
  client.on('end', () => hold(() => server.end()));
  server.on('data', (data) => client.writable && client.write(data));
  server.on('end', () => client.end());
  // A reset of one side ends the other.
  client.on('error', () => server.destroy());
  server.on('error', () => client.destroy());
}

async function listen(port: number): Promise<number> {
  const server = createServer({ noDelay: true }, (client) => connect(client, port)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

const listening = Promise.all(ports.map(listen));

serve({
  ports: () => listening,
  /** Since it was asked last. */
  times: () => times.splice(0),
});
