// Protects timeouts and signals: they doom a transaction until it is decided, are ignored afterwards, and leave no timer and
// no listener behind. Time is the test's own, by the door to the clock.
import { getEventListeners } from 'node:events';
import {
  ConfigurationError,
  DoomedTransaction,
  InDoubtError,
  type Transaction,
  TransactionCoordinator,
  TransactionManager,
  TransactionTimeoutError,
} from 'unanimous';
import { environment } from '../../coordinator/environment.ts';
import { assert, suite } from '../support/suite.ts';
import { type Step, gate, raise, recording, turns, wholeCommit } from './recording.ts';

const test = suite('deadline');

const { setTimer, clearTimer } = environment;
let timers = new Map<object, () => void>();
const timedOut = (): void => {
  for (const fire of timers.values()) fire();
};

test.before.each(() => {
  timers = new Map();
  environment.setTimer = (callback) => {
    const timer = {};
    timers.set(timer, () => {
      timers.delete(timer);
      callback();
    });
    return timer;
  };
  environment.clearTimer = (timer) => void timers.delete(timer as object);
});
test.after.each(() => {
  Object.assign(environment, { setTimer, clearTimer });
});

/** The two ways to end a transaction from outside. */
interface Way {
  readonly name: string;
  readonly options: { readonly timeoutMs?: number; readonly signal?: AbortSignal };
  readonly pass: () => void;
  readonly thrown: typeof DoomedTransaction;
  readonly left: () => number;
}

function ways(): Way[] {
  const controller = new AbortController();
  return [
    {
      name: 'timeout',
      options: { timeoutMs: 50 },
      pass: timedOut,
      thrown: TransactionTimeoutError,
      left: () => timers.size,
    },
    {
      name: 'signal',
      options: { signal: controller.signal },
      pass: () => controller.abort(new Error('gone away')),
      thrown: DoomedTransaction,
      left: () => getEventListeners(controller.signal, 'abort').length,
    },
  ];
}

for (const name of ['timeout', 'signal']) {
  const way = (): Way => ways().find((each) => each.name === name)!;

  test(`${name}: while active it dooms the transaction, whose commit throws why`, async () => {
    const log: string[] = [];
    const { options, pass, thrown, left } = way();
    const txn = await new TransactionManager().begin(options);
    txn.join(recording(log, 'a'));
    assert.is(left(), 1);
    pass();
    assert.is(txn.status, 'doomed');
    const error = await assert.rejects(txn.commit(), thrown);
    assert.is(error.xid, txn.id);
    assert.match(error.message, name === 'timeout' ? '50 ms' : 'gone away');
    assert.equal(log, []);
    await txn.abort();
    assert.is(left(), 0);
  });

  test(`${name}: it cancels what every data manager waits for, with the reason; a cancel that throws is reported`, async () => {
    const reasons: Error[] = [];
    const told: unknown[] = [];
    const broken = new Error('cancel failed');
    const { options, pass, thrown } = way();
    const txn = await new TransactionManager({ onError: (error) => void told.push(error) }).begin(options);
    const cancel = (reason: Error): void => void reasons.push(reason);
    const cancelBadly = (): void => {
      throw broken;
    };
    const cancelWorse = (): void => raise('a text');
    for (const [key, given] of Object.entries({ a: cancel, b: cancelBadly, c: cancelWorse, d: cancel })) {
      txn.join(recording([], key, { cancel: given }));
    }
    txn.join(recording([], 'e'));
    pass();
    assert.is(reasons.length, 2);
    assert.instance(reasons[0], thrown);
    assert.is(told[0], broken);
    assert.instance(told[1], Error);
    assert.is((told[1] as Error).cause, 'a text');
    assert.is(await assert.rejects(txn.commit()), reasons[0]);
    await txn.abort();
  });

  test(`${name}: it passes once`, async () => {
    const reasons: Error[] = [];
    const { options, pass } = way();
    const txn = await new TransactionManager().begin(options);
    txn.join(recording([], 'a', { cancel: (reason) => void reasons.push(reason) }));
    pass();
    pass();
    assert.is(reasons.length, 1);
    await txn.abort();
  });

  test(`${name}: in a before-commit hook it fails the commit before anyone is called`, async () => {
    const log: string[] = [];
    const { options, pass, thrown, left } = way();
    const txn = await new TransactionManager().begin(options);
    txn.join(recording(log, 'a'));
    txn.addBeforeCommitHook(pass);
    await assert.rejects(txn.commit(), thrown);
    assert.equal(log, ['a.abort']);
    assert.is(txn.status, 'commit failed');
    assert.is(left(), 0);
  });

  for (const step of ['tpcBegin', 'commit', 'tpcVote'] as Step[]) {
    test(`${name}: in ${step}, before the decision, everything is undone`, async () => {
      const log: string[] = [];
      const { options, pass, thrown, left } = way();
      const txn = await new TransactionManager().begin(options);
      txn.join(recording(log, 'a'));
      txn.join(recording(log, 'b', { async: true, does: { [step]: pass } }));
      await assert.rejects(txn.commit(), thrown);
      assert.is(txn.status, 'commit failed');
      assert.is(log.includes('a.tpcFinish'), false);
      assert.equal(log.slice(-2), ['a.tpcAbort', 'b.tpcAbort']);
      assert.is(left(), 0);
    });
  }

  for (const step of ['tpcFinish', 'afterCompletion', 'after-commit hook'] as const) {
    test(`${name}: in ${step}, after the decision, it is ignored`, async () => {
      const log: string[] = [];
      const { options, pass, left } = way();
      const manager = new TransactionManager();
      const txn = await manager.begin(options);
      const cancel = (): void => void log.push('cancelled');
      txn.join(
        recording(log, 'a', step === 'tpcFinish' ? { async: true, does: { tpcFinish: pass }, cancel } : { cancel }),
      );
      if (step === 'afterCompletion') manager.registerSynch({ afterCompletion: pass });
      if (step === 'after-commit hook') txn.addAfterCommitHook(pass);
      await txn.commit();
      assert.is(txn.status, 'committed');
      assert.equal(log, wholeCommit('a'));
      assert.is(left(), 0);
    });
  }

  test(`${name}: when the last resource has committed by its vote, it is too late, alone or beside others`, async () => {
    for (const others of [false, true]) {
      const log: string[] = [];
      const { options, pass } = way();
      const txn = await new TransactionManager().begin(options);
      if (others) txn.join(recording([], 'b', { changed: true }));
      txn.join(recording(log, 'a', { lastResource: true, changed: true, async: true, does: { tpcVote: pass } }));
      await txn.commit();
      assert.equal([txn.status, txn.way], ['committed', others ? 'last-resource' : 'one-phase']);
      assert.equal(log, wholeCommit('a'));
    }
  });

  test(`${name}: while aborting it is ignored`, async () => {
    const reasons: Error[] = [];
    const { options, pass, left } = way();
    const txn = await new TransactionManager().begin(options);
    txn.join(recording([], 'a', { async: true, cancel: (reason) => void reasons.push(reason), does: { abort: pass } }));
    await txn.abort();
    assert.is(txn.status, 'aborted');
    assert.equal(reasons, []);
    assert.is(left(), 0);
  });

  test(`${name}: its timer or listener is gone after every end`, async () => {
    const ends: ((txn: Transaction) => Promise<unknown>)[] = [
      (txn) => txn.commit(),
      (txn) => txn.abort(),
      (txn) => {
        txn.doom();
        return txn.abort();
      },
      (txn) => {
        txn.join(recording([], 'a', { fails: { commit: new Error('no') } }));
        return assert.rejects(txn.commit());
      },
      (txn) => {
        txn.join(recording([], 'a', { fails: { tpcFinish: new Error('no') } }));
        return assert.rejects(txn.commit(), InDoubtError);
      },
      async (txn) => {
        txn.join(recording([], 'a', { fails: { abort: new Error('no') } }));
        await assert.rejects(txn.abort());
      },
    ];
    for (const end of ends) {
      const { options, left } = way();
      const txn = await new TransactionManager().begin(options);
      assert.is(left(), 1);
      await end(txn);
      assert.is(left(), 0, String(end));
    }
  });

  test(`${name}: run rejects at once, aborts, is not tried again, and leaves nothing behind`, async () => {
    const log: string[] = [];
    const never = gate();
    const { options, pass, thrown, left } = way();
    const manager = new TransactionManager();
    let calls = 0;
    const run = manager.run(
      async (txn) => {
        calls++;
        txn.join(recording(log, 'a'));
        await never.promise;
      },
      { ...options, backoff: false },
    );
    await turns();
    pass();
    await assert.rejects(run, thrown);
    assert.is(calls, 1);
    assert.equal(log, ['a.abort']);
    assert.is(manager.current, undefined);
    assert.is(left(), 0);
  });

  test(`${name}: run rejects too when it passes before the function has returned its promise`, async () => {
    const { options, pass, thrown } = way();
    const run = new TransactionManager().run(() => {
      pass();
      return new Promise(() => undefined);
    }, options);
    await assert.rejects(run, thrown);
  });

  test(`${name}: what the function of run does after that is nobody's unhandled rejection`, async () => {
    const late = gate();
    const { options, pass, thrown } = way();
    const run = new TransactionManager().run(() => late.promise, options);
    await turns();
    pass();
    await assert.rejects(run, thrown);
    late.fail(new Error('late failure'));
    await turns(2);
  });

  test(`${name}: of a run that takes part, it dooms the transaction and ends with that run`, async () => {
    const { options, pass, thrown, left } = way();
    const coordinator = new TransactionCoordinator();
    await coordinator.run(async () => {
      await coordinator.run(() => undefined, options);
      assert.is(left(), 0);
    });
    const never = gate();
    const outer = coordinator.run(async (txn) => {
      const inner = coordinator.run(() => never.promise, options);
      await turns();
      pass();
      await assert.rejects(inner, thrown);
      assert.is(txn.status, 'doomed');
      assert.is(left(), 0);
    });
    await assert.rejects(outer, thrown);
  });
}

test('a signal that is aborted already begins nothing', async () => {
  const signal = AbortSignal.abort(new Error('too late'));
  const manager = new TransactionManager();
  let called = false;
  const run = (): unknown => (called = true);
  const coordinator = new TransactionCoordinator();
  for (const begin of [
    () => manager.begin({ signal }),
    () => manager.run(run, { signal }),
    () => coordinator.begin({ signal }),
    () => coordinator.run(run, { signal }),
    () =>
      manager
        .attempts(3, { signal })
        .next()
        .then(({ value }) => value?.(run)),
  ]) {
    const error = await assert.rejects(begin, DoomedTransaction);
    assert.match(error.message, 'too late');
    assert.is(error.cause, signal.reason);
  }
  assert.is(called, false);
  assert.is(manager.current, undefined);
  assert.is(coordinator.current, undefined);
  assert.is(getEventListeners(signal, 'abort').length, 0);
});

test('a signal that is aborted already lets nobody take part, and the transaction goes on', async () => {
  const signal = AbortSignal.abort(new Error('too late'));
  const coordinator = new TransactionCoordinator();
  for (const propagation of ['required', 'nested', 'mandatory'] as const) {
    let called = false;
    await coordinator.run(async (txn) => {
      const inner = coordinator.run(() => (called = true), { signal, propagation });
      await assert.rejects(inner, DoomedTransaction);
      assert.is(txn.status, 'active');
    });
    assert.is(called, false);
  }
});

test('a signal whose reason is no Error dooms all the same', async () => {
  const controller = new AbortController();
  const txn = await new TransactionManager().begin({ signal: controller.signal });
  controller.abort('a text');
  const error = await assert.rejects(txn.commit(), DoomedTransaction);
  assert.match(error.message, 'a text');
  assert.is(error.cause, 'a text');
  await txn.abort();
});

test('wrong timeouts and signals are refused, and the message says what they must be', async () => {
  const manager = new TransactionManager();
  for (const timeoutMs of [0, -1, NaN, Infinity, 2 ** 31, '5', null]) {
    const error = await assert.rejects(manager.begin({ timeoutMs: timeoutMs as never }), ConfigurationError);
    assert.match(error.message, "'timeoutMs' must be a number of milliseconds above 0");
  }
  for (const signal of [new AbortController(), 'abort', {}, null, true]) {
    const error = await assert.rejects(manager.begin({ signal: signal as never }), ConfigurationError);
    assert.match(error.message, "'signal' must be an AbortSignal, not ");
  }
  assert.is(manager.current, undefined);
  assert.is(timers.size, 0);
});

test('with the real clock: the timer dooms, keeps no process alive, and is gone when the transaction ends', async () => {
  Object.assign(environment, { setTimer, clearTimer });
  const timeouts = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  const before = timeouts();
  const txn = await new TransactionManager().begin({ timeoutMs: 1 });
  await assert.eventually(() => txn.status === 'doomed');
  await assert.rejects(txn.commit(), TransactionTimeoutError);
  await txn.abort();
  for (let count = 0; count < 10; count++) {
    const quick = await new TransactionManager().begin({ timeoutMs: 60_000 });
    // An unreferenced timer isn't listed: it keeps nothing alive.
    assert.ok(timeouts() <= before);
    await quick.commit();
  }
  assert.ok(timeouts() <= before);
});

test('a signal alone sets no timer', async () => {
  const txn = await new TransactionManager().begin({ signal: new AbortController().signal });
  assert.is(timers.size, 0);
  await txn.commit();
});

test('a deadline that passes where data managers can’t be cancelled has nothing to report', async () => {
  const errors: Error[] = [];
  const manager = new TransactionManager({ onError: (error) => void errors.push(error) });
  const txn = await manager.begin({ timeoutMs: 50 });
  txn.join(recording([], 'a'));
  timedOut();
  assert.equal([txn.status, errors], ['doomed', []]);
  await txn.abort();
});

test('a deadline that passes when the transaction has failed already cancels nothing and changes nothing', async () => {
  const cancelled: Error[] = [];
  const manager = new TransactionManager();
  const no = new Error('no');
  const txn = await manager.begin({ timeoutMs: 50 });
  const cancel = (reason: Error): void => void cancelled.push(reason);
  txn.join(recording([], 'a', { savepoints: true, cancel, fails: { savepoint: no } }));
  assert.is(await assert.rejects(txn.savepoint()), no);
  timedOut();
  assert.equal([txn.status, cancelled], ['commit failed', []]);
  const error = await assert.rejects(txn.commit(), { code: 'ERR_TXN_FAILED' });
  assert.is(error.cause, no);
  await txn.abort();
});

test('a data manager that joins when the deadline has passed can see that, and with which error', async () => {
  const txn = await new TransactionManager().begin({ timeoutMs: 50 });
  const { deadline } = txn;
  assert.is(deadline!.passed, undefined);
  timedOut();
  const error = await assert.rejects(txn.commit(), TransactionTimeoutError);
  assert.is(deadline!.passed, error);
  await txn.abort();
});
