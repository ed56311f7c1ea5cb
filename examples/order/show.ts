// The show: single orders to which something happens, then many at once; after each a look at what is there, and at the end what must hold.
import { setTimeout } from 'node:timers/promises';
import { transaction } from 'unanimous';
import { describe, indent, showFindings } from '../support/findings.ts';
import { Progress, heading, number, paint, say } from '../support/terminal.ts';
import { checkInvariants } from './invariants.ts';
import { type Mishap, type Servers, large, small } from './mishaps.ts';
import { type Order, close, placeOrder } from './order.ts';
import { type Outside, type Parts, articles, customers } from './outside.ts';
import { Tally } from './tally.ts';

const orderCount = 60;
const concurrency = 12;
/** On a slow machine there are fewer orders, so that the show stays short. */
const longestMs = 5_000;
/** How long what was stored may take until it is done, and how often that is looked for. */
const patienceMs = 30_000;
const pauseMs = 100;

const well: Mishap = { what: 'nothing goes wrong', result: 'all', place: placeOrder };
const expected: Readonly<Record<Mishap['result'], Parts<number>>> = {
  all: { orders: 1, stock: 1, cache: 1, files: 1, mail: 1 },
  nothing: { orders: 0, stock: 0, cache: 0, files: 0, mail: 0 },
  'all but the mail': { orders: 1, stock: 1, cache: 1, files: 1, mail: 0 },
};
const names: Parts<string> = { orders: 'order', stock: 'stock', cache: 'cache', files: 'file', mail: 'mail' };

export class Show {
  readonly #servers: Servers;
  readonly #outside: Outside;
  readonly #tally = new Tally();
  #lastId = 0;

  constructor(servers: Servers, outside: Outside) {
    this.#servers = servers;
    this.#outside = outside;
  }

  /** Runs the show; false when an invariant doesn't hold. */
  async run(): Promise<boolean> {
    // Of a mail or a write that could not be delivered, which nobody could be thrown.
    transaction.configure({ onError: () => void this.#tally.reported++ });
    try {
      heading('One order after the other');
      for (const mishap of [well, ...small, ...large]) await this.#showOne(mishap);
      heading(`${number(orderCount)} orders, ${concurrency} at a time`);
      await this.#placeMany();
    } finally {
      await close();
    }
    say(
      `  ${number(this.#tally.reported)} times something was reported to onError: mails that are refused, servers that were away`,
    );
    this.#showSurprises();
    const findings = await checkInvariants(this.#outside, this.#tally);
    return showFindings(findings, 'Every order is complete or isn’t there; what is not done yet waits in the outbox.');
  }

  /** An order to which something happens. */
  async #place(mishap: Mishap): Promise<{ order: Order; error: Error | undefined }> {
    const id = ++this.#lastId;
    const customer = customers[id % (customers.length - 1)]!;
    const order: Order = { id, customer, article: 1 + (id % articles), quantity: 1, ...mishap.order };
    if (mishap.isWithoutFile !== true) await this.#outside.receive(id);
    const error = await this.#tally.count(mishap.place(order, this.#servers));
    return { order, error };
  }

  async #showOne(mishap: Mishap): Promise<void> {
    const { stock } = await this.#outside.count();
    const { order, error } = await this.#place(mishap);
    const parts = await this.#completed(mishap, async () => {
      const seen = await this.#outside.look(order.id);
      return { ...seen, stock: seen.stock - stock };
    });
    const isAsExpected = this.#compare(parts, mishap);
    say(`  ${paint('bold', `${order.id}. ${mishap.what}`)}`);
    // Without its causes, which the messages say.
    if (error !== undefined) say(paint('dim', indent(describe(error).split('\n')[0]!)));
    say(`    ${inMarks(parts)}${isAsExpected ? '' : paint('red', `  should be: ${mishap.result}`)}\n`);
  }

  /** What there is, once what was stored with the decision is done: by recovery, which runs every few seconds by itself, and now. */
  async #completed(mishap: Mishap, look: () => Promise<Parts<number>>): Promise<Parts<number>> {
    const end = performance.now() + patienceMs;
    for (;;) {
      const parts = await look();
      if (isAsExpectedOf(mishap, parts) || performance.now() >= end) return parts;
      await setTimeout(pauseMs);
      await transaction.recover();
    }
  }

  #compare(parts: Parts<number>, mishap: Mishap): boolean {
    const { what } = mishap;
    const isAsExpected = isAsExpectedOf(mishap, parts);
    if (!isAsExpected) this.#tally.unexpected.push(`${what}: ${JSON.stringify(parts)}`);
    return isAsExpected;
  }

  /** Every third order has a small mishap. */
  async #placeMany(): Promise<void> {
    const progress = new Progress(orderCount);
    const before = this.#tally.total;
    const end = performance.now() + longestMs;
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < orderCount && performance.now() < end) {
        const index = next++;
        await this.#place(index % 3 === 0 ? small[(index / 3) % small.length]! : well);
        const { done, aborted, total } = this.#tally;
        progress.show(total - before, `${number(done)} placed in all, ${number(aborted)} not`);
      }
    };
    await Promise.all(Array.from({ length: concurrency }, worker));
    progress.end();
  }

  #showSurprises(): void {
    for (const each of this.#tally.unexpected.slice(0, 3)) {
      say(`  ${paint('red', 'not on purpose')}`);
      say(indent(each instanceof Error ? (each.stack ?? each.message) : String(each)));
    }
  }
}

function isAsExpectedOf({ result }: Mishap, parts: Parts<number>): boolean {
  return keys.every((key) => parts[key] === expected[result][key]);
}

const keys = Object.keys(names) as (keyof Parts<unknown>)[];

function inMarks(parts: Parts<number>): string {
  return keys
    .map(
      (key) =>
        `${names[key]} ${parts[key] === 1 ? paint('green', '✓') : parts[key] === 0 ? '–' : paint('red', String(parts[key]))}`,
    )
    .join('   ');
}
