// Protects what is stored with a decision: Redis' writes are applied once and mails are sent at least once, though servers are away when the
// transaction commits, or the process that has decided it is gone.
import nodemailer from 'nodemailer';
import { type DataManager, type Transaction, TransactionCoordinator, register } from 'unanimous';
import { MailSession } from 'unanimous/mail';
import { PgDecisionLog } from 'unanimous/pg';
import { MailServer } from '../datamanagers/mail/setup.ts';
import { Database as Mysql } from '../datamanagers/mysql/setup.ts';
import { Database as Postgres } from '../datamanagers/pg/setup.ts';
import { Store } from '../datamanagers/redis/setup.ts';
import { mariadb, postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';

const test = suite('outbox with real servers', { timeoutMs: 60_000 });
const errors: string[] = [];
const makeCoordinator = (): TransactionCoordinator =>
  new TransactionCoordinator({ app: 'outbox', onError: (error) => void errors.push(error.message) });

const coordinator = makeCoordinator();
const own = { register: { coordinator } };
const bank = await Postgres.open(await postgres(), { name: 'bank', ...own });
const audit = await Postgres.open(await postgres(), { name: 'audit', ...own });
const stock = await Mysql.open(await mariadb(), { name: 'stock', ...own });
const cache = await Store.open({
  name: 'cache',
  endTimeoutMs: 500,
  resolveTimeoutMs: 500,
  acquireTimeoutMs: 500,
  ...own,
});
let mails = await MailServer.open();
const { port } = mails;
const transport = nodemailer.createTransport({ host: '127.0.0.1', port, ignoreTLS: true });
const mail = register(new MailSession(transport, { from: 'shop@example.org', sendTimeoutMs: 2_000 }), { coordinator });
coordinator.configure({ decisionLog: new PgDecisionLog(bank.session), recovery: { everyMs: 2_000_000_000 } });

test.after(async () => {
  await coordinator.close();
  transport.close();
  await Promise.all([bank.close(), audit.close(), stock.close(), cache.close(), mails.die()]);
});
test.before.each(async () => {
  // What was delivered is to be gone before Redis forgets that it was.
  await nothingWaits();
  errors.length = 0;
  mails.received.length = 0;
  await cache.admin.flushall();
});

const debit = (session: typeof bank.session): Promise<unknown> =>
  session.query('update accounts set balance = balance - 1 where id = 1');
/** Nothing waits any more: what Redis would know again is deleted a little after its delivery. */
const nothingWaits = (): Promise<void> => assert.eventually(async () => assert.equal(await waiting(), []));

const waiting = async (): Promise<unknown[]> =>
  (await bank.admin.query('select target, attempts from unanimous_outbox order by gid, seq')).rows;
/** What is stored is due at once, as if its deliverer's time were over. */
const due = (): Promise<unknown> => bank.admin.query('update unanimous_outbox set next_at = now()');

async function commit(work: (txn: Transaction) => unknown): Promise<Transaction> {
  return coordinator.run(async (txn) => {
    await work(txn);
    return txn;
  });
}

/** Does this when all are to finish, behind the databases. */
function bystander(tpcFinish: () => Promise<void>): DataManager {
  const nothing = (): void => undefined;
  return {
    sortKey: '~~~',
    tpcBegin: nothing,
    commit: nothing,
    tpcVote: nothing,
    tpcFinish,
    tpcAbort: nothing,
    abort: nothing,
  };
}

const order = async (): Promise<void> => {
  await debit(bank.session);
  cache.session.incr('orders');
  mail.send({ to: 'alice@example.org', subject: 'Your order', text: 'it is on its way' });
};

test('with the store’s own database: one commit, no PREPARE, and both are delivered before commit() returns', async () => {
  const before = await bank.balance(1);
  let result: Promise<number> | undefined;
  const txn = await commit(async () => {
    await debit(bank.session);
    result = cache.session.incr('orders').result;
    mail.send({ to: 'alice@example.org', subject: 'Your order', text: 'it is on its way' });
  });
  assert.equal(txn.outcome, { result: 'committed', way: 'one-phase' });
  assert.is(await bank.balance(1), before! - 1);
  assert.equal(await cache.contents(), { orders: '1' });
  assert.is(await result, 1, 'the answer of a command is to be had all the same');
  assert.is(mails.received.length, 1);
  await nothingWaits();
});

test('over several databases: prepared, decided, committed, and then delivered', async () => {
  const txn = await commit(async () => {
    await debit(audit.session);
    await stock.session.query('update accounts set balance = balance - 1 where id = 1');
    cache.session.set('key', Buffer.from([0, 255, 254]));
    cache.session.incr('orders');
  });
  assert.is(txn.outcome!.way, 'two-phase');
  assert.equal(await cache.admin.getBuffer('key'), Buffer.from([0, 255, 254]));
  assert.is(await cache.admin.get('orders'), '1');
  await nothingWaits();
  assert.equal(await audit.prepared(), []);
});

test('Redis is away: the transaction commits, and recovery applies its writes when it is back, once', async () => {
  cache.proxy.refuse = true;
  cache.proxy.cut();
  let result: Promise<number> | undefined;
  const txn = await commit(async () => {
    await debit(bank.session);
    result = cache.session.incr('orders').result;
  });
  assert.is(txn.status, 'committed');
  assert.match(errors.join(), "to 'cache' was not");
  await assert.rejects(result!);
  assert.equal(await waiting(), [{ target: 'cache', attempts: 1 }]);
  cache.proxy.refuse = false;
  await due();
  const report = await coordinator.recover();
  assert.is(report.delivered, 1);
  assert.equal(await cache.contents(), { orders: '1' });
  await nothingWaits();
});

test('a reply that is lost: what was applied is not applied again', async () => {
  let cut = false;
  cache.proxy.onServerData = (_data, link) => {
    // Everything up to the reply to EXEC has come.
    if (!cut && execWasSent) {
      cut = true;
      link.cut();
      return false;
    }
    return undefined;
  };
  let execWasSent = false;
  cache.proxy.onClientData = (data) => {
    if (data.toString('latin1').toLowerCase().includes('exec') && data.includes('orders')) execWasSent = true;
    return undefined;
  };
  await commit(async () => {
    await debit(bank.session);
    cache.session.incr('orders');
  });
  cache.proxy.onServerData = undefined;
  cache.proxy.onClientData = undefined;
  assert.is(cut, true);
  await due();
  await coordinator.recover();
  assert.equal(await cache.contents(), { orders: '1' });
  await nothingWaits();
});

test('a message that is delivered twice is applied once, also by two processes at once', async () => {
  const message = {
    target: 'cache',
    payload: JSON.stringify({ commands: [['incr', 'orders']], key: 'orders' }),
    gid: 'outbox:x:y:1',
    sequence: 1,
    attempts: 0,
    isDead: false,
    createdAt: new Date(),
  };
  const other = cache.another({ name: 'cache' });
  await Promise.all([cache.session.deliver(message), other.deliver(message)]);
  await cache.session.deliver(message);
  assert.equal(await cache.contents(), { orders: '1' });
});

test('the mail server is away: the transaction commits, and the mail is sent when it is back, under the same Message-ID', async () => {
  await mails.die();
  let id: string | undefined;
  const txn = await commit(async () => {
    await debit(bank.session);
    id = mail.send({
      to: 'alice@example.org',
      subject: 'Your order',
      text: 'later',
      attachments: [{ filename: 'a', content: Buffer.from([1, 255]) }],
    });
  });
  assert.is(txn.status, 'committed');
  mails = await MailServer.open({}, port);
  await due();
  await coordinator.recover();
  assert.equal(
    mails.received.map(({ id: received }) => received),
    [id],
  );
  assert.match(mails.received[0]!.source, 'Af8=');
  await nothingWaits();
});

test('a message is its deliverer’s alone from when it is stored, however long its transaction has lasted by then', async () => {
  let seen: { isLate: boolean; alone: boolean } | undefined;
  await commit(async (txn) => {
    await order();
    const { rows } = await bank.session.query('select clock_timestamp()::text as late');
    const look = async (): Promise<void> => {
      // By the clock of the statement, not by that of the beginning of the transaction.
      const found = await bank.admin.query(
        `select bool_and(created_at > $1) as "isLate", bool_and(next_at > $1::timestamptz + interval '30 seconds') as alone from unanimous_outbox`,
        [rows[0].late],
      );
      seen = found.rows[0];
    };
    txn.join(bystander(look));
  });
  assert.equal(seen, { isLate: true, alone: true });
});

test('another process delivers what this one has stored', async () => {
  cache.proxy.refuse = true;
  cache.proxy.cut();
  await commit(order);
  cache.proxy.refuse = false;
  const another = makeCoordinator();
  const session = cache.another({ name: 'cache', register: { coordinator: another } });
  const others = bank.another({ name: 'bank', register: { coordinator: another } });
  another.configure({ decisionLog: new PgDecisionLog(others.session), recovery: { everyMs: 2_000_000_000 } });
  await due();
  await another.recover();
  assert.equal(await cache.contents(), { orders: '1' });
  await nothingWaits();
  await another.close();
  await session.close();
});

test('nothing of it is stored where the transaction is rolled back, at whatever point', async () => {
  await assert.rejects(
    commit(async () => {
      await order();
      throw new Error('no');
    }),
  );
  await assert.rejects(
    commit(async (txn) => {
      await order();
      await debit(audit.session);
      txn.addBeforeCommitHook(() => {
        throw new Error('no');
      });
    }),
  );
  assert.equal([await waiting(), await cache.contents(), mails.received.length], [[], {}, 0]);
});

test('what is watched can’t be stored: beside other changes it is refused, alone it is applied by EXEC', async () => {
  const watched = async (): Promise<void> => {
    await cache.session.watch('orders');
    cache.session.incr('orders');
  };
  await commit(watched);
  assert.equal(await cache.contents(), { orders: '1' });
  const error = await assert.rejects(
    commit(async () => {
      await debit(bank.session);
      await watched();
    }),
  );
  assert.match(error.message, "can't");
  assert.equal(await cache.contents(), { orders: '1' });
});
