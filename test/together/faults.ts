// Going wrong on purpose: what is done to one of the five resources in one phase, and what must be found afterwards.
import type { Transaction } from 'unanimous';
import { FilesNotInPlaceError } from 'unanimous/files';
import { MailNotSentError } from 'unanimous/mail';
import type { SqlBranch } from '../../datamanagers/sql/branch.ts';
import { onText } from '../datamanagers/sql/helpers.ts';
import type { Link, TcpProxy } from '../support/proxy.ts';
import { type Test, assert } from '../support/suite.ts';
import type { ExpectedError } from '../support/assert.ts';
import { ALL, type Database, NOTHING, type Order, type Resource, resources } from './order.ts';
import { type Shop } from './shop.ts';

/** The two ways in which an order is kept together, by the names that suites have. */
export const ways: readonly (readonly [isDecided: boolean, name: string])[] = [
  [false, 'by the order of the calls'],
  [true, 'with a decision store'],
];

/** Something that goes wrong with one resource. */
export interface Fault {
  readonly resource: Resource;
  /** What goes wrong, as a sentence. */
  readonly what: string;
  /** What is wrong with the order. */
  readonly order?: Partial<Order>;
  /** Done before the order is placed. */
  readonly before?: (shop: Shop, order: Order) => unknown;
  /** Done in the transaction, before everything else. */
  readonly first?: (shop: Shop, order: Order, txn: Transaction) => unknown;
  /** Done in the transaction, behind everything else. */
  readonly also?: (shop: Shop, order: Order, txn: Transaction) => unknown;
  /** Harmless where decisions are written down: what comes behind them can wait for its server. */
  readonly isHarmlessDecided?: boolean;
  /** Puts right again what was broken. */
  readonly after?: (shop: Shop, order: Order) => unknown;
  /** What the order is rejected with, and what its message says. */
  readonly error: ExpectedError;
  readonly says: RegExp;
}

type Phase = 'work' | 'commit' | 'tpcVote';

/** How far it came, by the calls of the data managers; `work` before the first of them. */
function phaseReached(log: readonly string[]): string {
  const phases = ['tpcBegin', 'commit', 'tpcVote', 'tpcFinish'];
  return phases.findLast((phase) => log.some((call) => call.endsWith(`.${phase}`))) ?? 'work';
}

/**
 * Registers a test for each fault: the order is refused in that phase, nothing of it is anywhere, nothing is left behind, and the same order
 * can be placed when the fault is gone.
 */
export function testRefusals(test: Test, shop: Shop, phase: Phase, faults: readonly Fault[]): void {
  for (const fault of faults) {
    if (shop.isDecided && fault.isHarmlessDecided === true) continue;
    test(`${fault.resource}: ${fault.what}: nothing is done anywhere`, async () => {
      const order = await shop.order(fault.order);
      await fault.before?.(shop, order);
      const log: string[] = [];
      const error = await assert.rejects(placeWith(shop, order, fault, log), fault.error);
      assert.match(error.message, fault.says);
      assert.is(phaseReached(log), phase);
      await fault.after?.(shop, order);
      assert.equal(await shop.look(order), NOTHING);
      await shop.assertClean();

      const sound: Order = { ...order, ...sane };
      await shop.place(sound);
      assert.equal(await shop.look(sound), ALL);
    });
  }
}

const sane = { quantity: 1, customer: 'alice', to: 'alice@example.org' };

/** The one that fails is used last, when there is something to undo everywhere else. */
function placeWith(shop: Shop, order: Order, { resource, first, also }: Fault, log: string[]): Promise<Transaction> {
  return shop.place(order, {
    log,
    steps: [...resources.filter((each) => each !== resource), resource],
    first: (txn) => first?.(shop, order, txn),
    also: (txn) => also?.(shop, order, txn),
  });
}

/** Ends a database's connection while nothing is asked of it, and waits until the session knows. */
export async function endIdle(shop: Shop, database: 'orders' | 'stock', txn: Transaction): Promise<void> {
  await shop[database].terminate();
  const branch = txn.joined(shop.sessions[database]) as SqlBranch;
  await assert.eventually(() => branch.connection!.broken !== undefined);
}

/** What is sent together with EXEC, and only then: a connection tries EXEC when it is opened. */
export const EXEC = 'unanimous:token:';

/** Cuts the link on which a text is sent next, or does something else to it: it never arrives. */
export function loseRequest(proxy: TcpProxy, text: string, act: (link: Link) => unknown = cut): void {
  onText(proxy, text, (link) => {
    act(link);
    return false;
  });
}

/** Cuts the link on which a text is sent next when the answer comes, or does something else to it: nobody hears that it was done. */
export function loseReply(proxy: TcpProxy, text: string, act: (link: Link) => unknown = cut): void {
  onText(proxy, text, (link) => {
    proxy.onServerData = (_, from) => {
      if (from !== link) return undefined;
      proxy.onServerData = undefined;
      act(link);
      return false;
    };
  });
}

function cut(link: Link): void {
  link.cut();
}

/** The changes that the error of a file session names, as texts. */
export function filesOf(error: unknown): string[] {
  assert.instance(error, FilesNotInPlaceError);
  return (error as FilesNotInPlaceError).files.map(({ operation, path, to, outcome }) =>
    [operation, path, to, outcome].join(' '),
  );
}

/** The mails that the error of a mail session names, as texts. */
export function mailsOf(error: unknown): string[] {
  assert.instance(error, MailNotSentError);
  return (error as MailNotSentError).mails.map(({ recipients, outcome }) => `${recipients.join()} ${outcome}`);
}

/** By what a database is told to prepare. */
export const PREPARE: Readonly<Record<Database, string>> = { orders: 'prepare transaction', stock: 'xa prepare' };

/** Does something to the link on which a database is told to prepare when it has prepared: nobody hears of it. */
export function whenPrepared(shop: Shop, database: Database, act: (link: Link) => unknown): void {
  onText(shop[database].proxy, PREPARE[database], (link) => {
    // What is sent with it is answered too.
    link.dropReplies = true;
    void assert.eventually(async () => (await shop.prepared())[database].length > 0).then(() => act(link));
  });
}
