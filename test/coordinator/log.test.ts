// Protects what is written to a logger of transactions, and at which level.
import { Console } from 'node:console';
import { PassThrough } from 'node:stream';
import { pino } from 'pino';
import {
  CommitOutcomeUnknownError,
  ConfigurationError,
  MemoryDecisionLog,
  MemoryDecisionStore,
  type RecoverableResource,
  TransactionCoordinator,
  TransientError,
  logTransactions,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { recording } from './recording.ts';

const test = suite('logTransactions');

/** What pino writes while `work` runs: its level and message, and the fields. */
async function logged(
  options: Parameters<typeof logTransactions>[1],
  work: () => unknown,
): Promise<{ words: string[]; lines: any[] }> {
  const lines: any[] = [];
  const logger = pino({ level: 'trace' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const stop = logTransactions(logger, options);
  try {
    await work();
  } finally {
    stop();
  }
  const names = logger.levels.labels;
  return { words: lines.map(({ level, msg }) => `${names[level]} ${msg}`), lines };
}

const coordinator = new TransactionCoordinator();
const quietly = (work: Promise<unknown>): Promise<unknown> => work.catch(() => undefined);

test('what goes well is not written by default, and step by step at debug', async () => {
  const work = (): Promise<unknown> =>
    coordinator.run((txn) => txn.join(recording([], 'a')), { note: 'place an order' });
  assert.equal((await logged({}, work)).words, []);
  const { words, lines } = await logged({ level: 'debug' }, work);
  assert.equal(words, [
    'debug transaction begun',
    'debug resource joined',
    'debug resource voted',
    'debug resource finished',
    'debug transaction committed',
  ]);
  for (const line of lines) {
    assert.match(line.txn, /^unanimous:/);
    assert.is(line.note, 'place an order');
  }
});

test('retries are info, failed commits are warnings with their error, doubt is an error', async () => {
  const { words, lines } = await logged({}, async () => {
    await coordinator.run(
      (txn) => {
        if (txn.attempt === 1) throw new TransientError('busy');
      },
      { backoff: false },
    );
    await quietly(coordinator.run((txn) => txn.join(recording([], 'a', { fails: { tpcVote: new Error('full') } }))));
    await quietly(coordinator.run((txn) => txn.join(recording([], 'a', { fails: { tpcFinish: new Error('gone') } }))));
    const lost = new CommitOutcomeUnknownError('lost');
    await quietly(
      coordinator.run((txn) => txn.join(recording([], 'z', { lastResource: true, fails: { tpcVote: lost } }))),
    );
  });
  assert.equal(words, [
    'info transaction is tried again',
    'warn transaction could not commit',
    'warn resource did not finish',
    'error transaction in doubt',
    'error transaction in doubt',
  ]);
  assert.equal(
    lines.map(({ err }) => err.message.slice(0, 5)),
    ['busy', 'full', 'gone', 'every', 'lost'],
  );
});

test('what was aborted on purpose is debug: it is no failure', async () => {
  const abort = (): Promise<unknown> => coordinator.run(() => coordinator.abort());
  assert.equal((await logged({}, abort)).words, []);
  assert.equal((await logged({ level: 'debug' }, abort)).words, [
    'debug transaction begun',
    'debug transaction aborted',
  ]);
});

test('slow commits are warnings, where asked', async () => {
  const work = (): Promise<unknown> => coordinator.run(() => new Promise((resolve) => setTimeout(resolve, 20)));
  const { words, lines } = await logged({ slowMs: 5 }, work);
  assert.equal(words, ['warn transaction was slow']);
  assert.ok(lines[0].durationMs > 5);
});

test('recovery: a pass that does nothing is debug, one that fails is an error', async () => {
  const store = new MemoryDecisionStore();
  const log = new MemoryDecisionLog(store);
  const recovering = new TransactionCoordinator({ decisionLog: log, recovery: false });
  const { words } = await logged({ level: 'debug' }, async () => {
    await recovering.recover();
    log.nodes = () => Promise.reject(new Error('down'));
    await quietly(recovering.recover());
  });
  assert.equal(words, ['debug recovery pass', 'error recovery failed']);
  await recovering.close();
});

test('the console gets the message first', async () => {
  const stdout = new PassThrough();
  const stop = logTransactions(new Console(stdout), { level: 'debug' });
  await coordinator.run(() => undefined);
  stop();
  assert.match(String(stdout.read()), /^transaction begun \{\n? *txn: 'unanimous:/);
});

test('what is no logger, and impossible options, are refused', () => {
  for (const call of [
    () => logTransactions({} as never),
    () => logTransactions(undefined as never),
    () => logTransactions(console, { level: 'loud' } as never),
  ]) {
    assert.throws(call, (error: unknown) => error instanceof ConfigurationError);
  }
});

test('a pass of recovery that has ended something is info', async () => {
  const decisionLog = new MemoryDecisionLog();
  const app = 'shop';
  const prepared = [{ gid: `${app}:${await decisionLog.open()}:dead:1`, branch: 'bank' }];
  const bank: RecoverableResource = {
    name: 'bank',
    listPrepared: async () => [...prepared],
    commitPrepared: async () => void prepared.pop(),
    rollbackPrepared: async () => void prepared.pop(),
  };
  const recovering = new TransactionCoordinator({
    app,
    decisionLog,
    recovery: { everyMs: 2_000_000_000, resources: [bank] },
  });
  const { words, lines } = await logged({}, () => recovering.recover());
  await recovering.close();
  assert.equal(words, ['info recovery pass']);
  assert.equal([lines[0].rolledBack, lines[0].committed], [1, 0]);
});
