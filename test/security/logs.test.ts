// Protects logs, traces and terminals: what strangers have put into names, notes and the errors of servers stays in its own field of its own
// line, and neither passwords, nor values, nor what is stored for later are in anything that this package writes.
import { Console } from 'node:console';
import { PassThrough } from 'node:stream';
import { inspect } from 'node:util';
import { pino } from 'pino';
import pgDriver from 'pg';
import mysqlDriver from 'mysql2/promise';
import { Redis } from 'ioredis';
import {
  MemoryDecisionLog,
  TransactionCoordinator,
  type TransactionEvents,
  type TransactionEventName,
  TransientError,
  logTransactions,
  observe,
  outboxed,
  register,
} from 'unanimous';
import { MailSession } from 'unanimous/mail';
import { MysqlDecisionLog, MysqlSession } from 'unanimous/mysql';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import { RedisSession } from 'unanimous/redis';
import { postgres } from '../support/servers.ts';
import { run } from '../../cli/run.ts';
import { hideCredentials } from '../../coordinator/printable.ts';
import { hideCredentials as hideInCommandLine } from '../../cli/secrets.ts';
import { recording } from '../coordinator/recording.ts';
import { assert, suite } from '../support/suite.ts';
import { TERMINAL } from './hostile-texts.ts';

const test = suite('hostile texts in logs');
const FORGED = `done\n{"level":30,"msg":"forged"}\n${TERMINAL} %s %o %j`;

/** Transactions that tell of themselves in all ways, with hostile names and errors. */
async function work(coordinator: TransactionCoordinator): Promise<void> {
  const fail = (step: 'tpcVote' | 'tpcFinish') =>
    coordinator
      .run(
        (txn) => {
          txn.note(FORGED);
          txn.setUser(FORGED, FORGED);
          txn.setExtendedInfo(FORGED, FORGED);
          txn.join(recording([], FORGED, { fails: { [step]: new Error(FORGED) } }));
        },
        { attempts: 1 },
      )
      .catch(() => undefined);
  await fail('tpcVote');
  await fail('tpcFinish');
  await coordinator
    .run(
      () => {
        throw new TransientError(FORGED);
      },
      { attempts: 2, backoff: false, note: FORGED },
    )
    .catch(() => undefined);
  await coordinator.run(Object.defineProperty(() => undefined, 'name', { value: FORGED }));
}

test('a structured logger gets constant messages, and its lines stay its own', async () => {
  const lines: string[] = [];
  const logger = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
  const stop = logTransactions(logger, { level: 'debug' });
  try {
    await work(new TransactionCoordinator({ onError: () => undefined }));
  } finally {
    stop();
  }
  assert.ok(lines.length > 10);
  for (const line of lines) {
    assert.is(line.indexOf('\n'), line.length - 1);
    const { msg } = JSON.parse(line) as { msg: string };
    assert.match(msg, /^(transaction|resource|decision|recovery) [a-z ]+$/);
  }
});

test('on the console a note is quoted in its field, and formats nothing', async () => {
  const out = new PassThrough();
  let said = '';
  out.on('data', (chunk: Buffer) => (said += String(chunk)));
  const stop = logTransactions(new Console(out, out), { level: 'debug' });
  try {
    await new TransactionCoordinator().run((txn) => txn.note(FORGED));
  } finally {
    stop();
  }
  assert.match(said, /note:\s+'done\\n/);
  assert.not.match(said, /^\{"level":30/m);
  // oxlint-disable-next-line no-control-regex
  assert.not.match(said, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
});

/** What must be in nothing: the password of each address, a value of a statement, what is stored for later. */
const SECRET = 'hunter2';
const holds = (value: unknown): boolean =>
  inspect(value, { depth: 12, showHidden: false, maxStringLength: Infinity, maxArrayLength: Infinity }).includes(
    SECRET,
  );

/** Everything that is told of a process while `work` runs. */
async function told(coordinator: TransactionCoordinator, inside: () => Promise<unknown>): Promise<unknown[]> {
  const heard: unknown[] = [];
  const lines: string[] = [];
  const names: TransactionEventName[] = [
    'begin',
    'join',
    'vote',
    'decide',
    'finish',
    'commit',
    'abort',
    'in-doubt',
    'retry',
    'warning',
    'recovery',
  ];
  const listeners = Object.fromEntries(
    names.map((name) => [
      name,
      (event: TransactionEvents[typeof name]) => heard.push({ ...event, transaction: undefined }),
    ]),
  );
  const stops = [
    observe(listeners),
    logTransactions(pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) }), { level: 'debug' }),
  ];
  const failure = await inside().then(
    () => undefined,
    (error: unknown) => error,
  );
  heard.push(coordinator.inspect());
  for (const stop of stops) stop();
  return [...heard, ...lines, failure];
}

test('neither the password of an address, nor values, nor payloads are in events, logs, inspections or our errors', async () => {
  const reported: unknown[] = [];
  const coordinator = new TransactionCoordinator({
    decisionLog: new MemoryDecisionLog(),
    recovery: false,
    onError: (error) => reported.push(error),
  });
  const url = new URL(await (await postgres()).database('secrets'));
  // The test's server lets everybody in, so that any password will do.
  url.password = SECRET;
  const pool = new pgDriver.Pool({ connectionString: url.href });
  const bank = register(new PgSession(pool, { name: 'bank' }), { coordinator });
  const mail = register(
    new MailSession({ sendMail: async (_mail: object) => ({}) }, { from: 'shop@example.org', verify: false }),
    {
      coordinator,
    },
  );
  const call = outboxed<{ card: string }>(
    'charge',
    async () => {
      throw new Error('refused by the bank');
    },
    { coordinator },
  );
  await pool.query('create table cards (number text primary key)');
  const all = await told(coordinator, () =>
    coordinator.run(async () => {
      await bank.query('insert into cards values ($1)', [SECRET]);
      mail.send({ to: 'alice@example.org', subject: SECRET, text: SECRET });
      call({ card: SECRET });
    }),
  );
  const refused = await told(coordinator, () => coordinator.run(() => bank.query('select $1::text', [SECRET, SECRET])));
  assert.equal([...all, ...refused, ...reported, bank, mail, coordinator].filter(holds), []);
  await coordinator.close();
  await pool.end();
});

test('a session that can be printed prints no password of its pool', async () => {
  const redis = new Redis({ host: '127.0.0.1', port: 1, password: SECRET, lazyConnect: true });
  const pool = mysqlDriver.createPool({ uri: `mysql://root:${SECRET}@127.0.0.1:1/bank` });
  const stock = new MysqlSession(pool, { name: 'stock' });
  const bank = new PgSession(new pgDriver.Pool({ connectionString: `postgres://a:${SECRET}@127.0.0.1:1/b` }), {
    name: 'bank',
  });
  const sessions = [bank, stock, new RedisSession(redis), new PgDecisionLog(bank), new MysqlDecisionLog(stock)];
  assert.equal(
    sessions.filter(holds).map((each) => each.constructor.name),
    [],
  );
  redis.disconnect();
  await pool.end();
});

test('npx unanimous prints no password, of whatever address and in whatever error', async () => {
  const address = (scheme: string): string => `${scheme}://app:${SECRET}@127.0.0.1:1/bank?password=${SECRET}`;
  for (const scheme of ['postgres', 'mysql', 'http']) {
    for (const command of ['status', 'init']) {
      for (const json of [[], ['--json']]) {
        let said = '';
        const say = (text: string): void => void (said += text);
        const args = [command, '--store', address(scheme), '--resource', `bank=${address(scheme)}`, ...json];
        const code = await run(args, { folder: process.cwd(), out: say, err: say });
        assert.ok(code === 2 || code === 3, said);
        assert.not.match(said, SECRET);
      }
    }
  }
});

test('hiding passwords comes to an end, however long the text is', () => {
  // Each would take minutes and more where every place is looked at from every other.
  for (const text of [
    'a'.repeat(1 << 20),
    `?${'a'.repeat(1 << 20)}`,
    '?secret'.repeat(1 << 14),
    'a.'.repeat(1 << 19),
  ]) {
    for (const hide of [hideCredentials, hideInCommandLine]) assert.is(hide(text).length, text.length);
  }
  for (const hide of [hideCredentials, hideInCommandLine]) {
    assert.is(hide('postgres://app:hunter2@db/bank'), 'postgres://app:***@db/bank');
  }
});
