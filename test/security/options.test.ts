// Protects the guarantees from what comes in with options: numbers that are none, options that are inherited, and Object.prototype itself
// where another library lets a stranger write to it (prototype pollution). Nothing is ever switched on by that.
import {
  ConfigurationError,
  type DataManager,
  MemoryDecisionLog,
  MemoryStore,
  TransactionCoordinator,
  joinTransaction,
  logTransactions,
  markChanged,
  onVote,
  outboxed,
  register,
} from 'unanimous';
import { FileSession } from 'unanimous/files';
import { MailSession } from 'unanimous/mail';
import { assert, suite } from '../support/suite.ts';

const test = suite('hostile options');
const nothing = (): void => undefined;

/** A database as far as a coordinator can tell: it has changes, and can prepare them. */
const changed = (name: string): DataManager =>
  ({
    sortKey: name,
    name,
    changed: true,
    recoverable: {
      name,
      listPrepared: async () => [],
      commitPrepared: async () => undefined,
      rollbackPrepared: async () => undefined,
    },
    tpcBegin: nothing,
    commit: nothing,
    tpcVote: nothing,
    tpcFinish: nothing,
    tpcAbort: nothing,
    abort: nothing,
  }) as DataManager;

const everything: object = Object.prototype;

/** Calls `work` while Object.prototype has what a stranger has written to it. */
async function polluted(properties: Readonly<Record<string, unknown>>, work: () => unknown): Promise<void> {
  for (const [name, value] of Object.entries(properties)) {
    Object.defineProperty(everything, name, { value, configurable: true, enumerable: true, writable: true });
  }
  try {
    await work();
  } finally {
    for (const name of Object.keys(properties)) delete (everything as Record<string, unknown>)[name];
  }
}

const twoDatabases = (coordinator: TransactionCoordinator): Promise<void> =>
  coordinator.run((txn) => {
    txn.join(changed('a'));
    txn.join(changed('b'));
  });

test('what is written to Object.prototype later makes no coordinator commit what it must not', async () => {
  const coordinators = [new TransactionCoordinator(), new TransactionCoordinator({ app: 'shop' })];
  await polluted({ allowUnsafeCommit: true, allowUnsafeLastResources: true, explicit: false }, async () => {
    for (const coordinator of coordinators) {
      await assert.rejects(twoDatabases(coordinator), { code: 'ERR_TXN_CONFIGURATION' });
      assert.is(coordinator.explicit, true);
      assert.throws(
        () => coordinator.get(),
        (error: Error) => error.name === 'NoTransaction',
      );
    }
  });
});

test('an option that comes from Object.prototype is refused wherever options are given', async () => {
  const coordinator = new TransactionCoordinator();
  const transport = { sendMail: async () => ({}) };
  const doors: Record<string, [Record<string, unknown>, () => unknown]> = {
    'new TransactionCoordinator()': [{ allowUnsafeCommit: true }, () => new TransactionCoordinator({})],
    'configure()': [{ decisionLog: new MemoryDecisionLog() }, () => coordinator.configure({})],
    recovery: [{ leaseMs: 1 }, () => new TransactionCoordinator({ recovery: {} })],
    'run()': [{ propagation: 'not-supported' }, () => coordinator.run(nothing, { note: 'n' })],
    'begin()': [{ readOnly: true }, () => coordinator.context(() => coordinator.begin({}))],
    'attempts()': [{ timeoutMs: 1 }, () => coordinator.attempts(1, {}).next()],
    'register()': [{ twoPhase: false }, () => register(new FileSession(), {})],
    'new FileSession()': [{ root: '/' }, () => new FileSession({})],
    'new MailSession()': [{ verify: false }, () => new MailSession(transport, {})],
    'markChanged()': [{ keepSession: true }, () => markChanged(new FileSession(), {})],
    'joinTransaction()': [{ initialState: 'readonly' }, () => joinTransaction(new FileSession(), {})],
    'outboxed()': [{ anyOrder: true }, () => outboxed('hostile', nothing, { coordinator })],
    'onVote()': [{ sortKey: '' }, () => coordinator.run(() => onVote(nothing, { coordinator }))],
    'logTransactions()': [{ level: 'error' }, () => logTransactions(console, {})],
    'close()': [{ timeoutMs: 1 }, () => new TransactionCoordinator().close({})],
  };
  for (const [door, [properties, open]] of Object.entries(doors)) {
    await polluted(properties, async () => {
      const refused = await assert.rejects(async () => open(), ConfigurationError, door);
      assert.match(refused.message, 'Object.prototype');
    });
  }
});

test('what another library has added to Object.prototype, and is no option of ours, keeps nobody from work', async () => {
  await polluted({ shuffle: nothing, note2: 'x' }, async () => {
    const coordinator = new TransactionCoordinator({ app: 'shop' });
    assert.is(await coordinator.run(() => 1, { note: 'n' }), 1);
    assert.is(await coordinator.run(() => 2), 2);
  });
});

test('a run without options has none, whatever is on Object.prototype', async () => {
  const coordinator = new TransactionCoordinator();
  const options = {
    propagation: 'never',
    timeoutMs: 1,
    readOnly: true,
    isolation: 'serializable',
    attempts: 0,
    signal: 1,
    note: 7,
  };
  await polluted(options, async () => {
    const seen = await coordinator.run((txn) => [
      txn.options.readOnly,
      txn.options.isolation,
      txn.deadline,
      txn.description,
    ]);
    assert.equal(seen, [undefined, undefined, undefined, '']);
    await coordinator.context(async () => {
      const txn = await coordinator.begin();
      assert.is(txn.options.readOnly, undefined);
      await txn.commit();
    });
  });
});

test('an option called __proto__, as JSON can have one, is unknown and sets no prototype', async () => {
  const options = JSON.parse('{"__proto__":{"allowUnsafeCommit":true,"app":"evil"}}') as object;
  const refused = await assert.rejects(async () => new TransactionCoordinator(options), ConfigurationError);
  assert.match(refused.message, "has no option '__proto__'");
  await assert.rejects(new TransactionCoordinator().run(nothing, options), ConfigurationError);
});

test('an option that is inherited is refused, rather than read here and not there', async () => {
  const coordinator = new TransactionCoordinator();
  const inheriting = (defaults: object): object => Object.create(defaults) as object;
  await assert.rejects(coordinator.run(nothing, inheriting({ timeoutMs: Number.NaN })), ConfigurationError);
  await assert.rejects(coordinator.run(nothing, inheriting({ readOnly: true })), ConfigurationError);
  await assert.rejects(async () => new TransactionCoordinator(inheriting({ app: 'shop' })), ConfigurationError);
});

test('numbers that are none, or no timer can wait for, are refused by name', async () => {
  const coordinator = new TransactionCoordinator();
  const wrong = [
    Number.NaN,
    Infinity,
    -Infinity,
    -1,
    0,
    2 ** 31,
    2 ** 53,
    '10',
    10n,
    null,
    [10],
    { valueOf: () => 10 },
    new Date(10),
  ];
  const delays: ((ms: never) => unknown)[] = [
    (timeoutMs) => coordinator.run(nothing, { timeoutMs }),
    (baseMs) => coordinator.run(nothing, { backoff: { baseMs } }),
    (maxMs) => coordinator.run(nothing, { backoff: { maxMs } }),
    (decisionTimeoutMs) => new TransactionCoordinator({ decisionTimeoutMs }),
    (everyMs) => new TransactionCoordinator({ recovery: { everyMs } }),
    (leaseMs) => new TransactionCoordinator({ recovery: { leaseMs } }),
    (oldBranchMs) => new TransactionCoordinator({ recovery: { oldBranchMs } }),
    (longMs) => new TransactionCoordinator({ watch: { longMs } }),
    (idleMs) => new TransactionCoordinator({ watch: { idleMs } }),
    (slowMs) => logTransactions(console, { slowMs }),
    (timeoutMs) => outboxed('numbers', nothing, { coordinator, timeoutMs }),
    (verifyTimeoutMs) => new MailSession({ sendMail: async () => ({}) }, { verifyTimeoutMs }),
    (timeoutMs) => new TransactionCoordinator().close({ timeoutMs }),
  ];
  for (const value of wrong) {
    for (const [index, give] of delays.entries()) {
      await assert.rejects(async () => give(value as never), ConfigurationError, `${index}: ${String(value)}`);
    }
    if (value !== 2 ** 31) {
      await assert.rejects(coordinator.run(nothing, { attempts: value as never }), RangeError);
      await assert.rejects(
        async () => new TransactionCoordinator({ recovery: { deliveryAttempts: value as never } }),
        ConfigurationError,
      );
    }
  }
  await assert.rejects(coordinator.run(nothing, { attempts: 1.5 }), RangeError);
});

test('the longest timeout that is taken lets nothing time out', async () => {
  const coordinator = new TransactionCoordinator({ watch: { longMs: 2_147_483_647, idleMs: 2_147_483_647 } });
  const txn = await coordinator.run(async (current) => current, { timeoutMs: 2_147_483_647 });
  assert.is(txn.status, 'committed');
  await coordinator.close({ timeoutMs: 2_147_483_647 });
});

test('names of properties are names like any other', async () => {
  const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'prototype'];
  const coordinator = new TransactionCoordinator();
  const store = new MemoryStore<string, string>({ name: '__proto__', coordinator });
  await coordinator.run((txn) => {
    for (const name of names) {
      txn.setExtendedInfo(name, name);
      txn.setData(name, name);
      txn.note(name);
      store.set(name, name);
    }
    assert.equal(Object.keys(txn.extension), names);
    assert.is(Object.getPrototypeOf(txn.extension), Object.prototype);
    assert.equal(
      names.map((name) => txn.data(name)),
      names,
    );
    assert.is(txn.data('valueOf'), undefined);
  });
  assert.equal(await coordinator.run(() => names.map((name) => store.get(name))), names);
});
