// Protects run: one transaction for each attempt, always ended; the user's error unchanged; and nothing retried whose outcome
// is not known. On the plain manager and on the coordinator.
import { getEventListeners } from 'node:events';
import {
  AlreadyInTransaction,
  type Awaitable,
  CommitOutcomeUnknownError,
  ConfigurationError,
  DoomedTransaction,
  InDoubtError,
  type RunOptions,
  type Transaction,
  TransactionCoordinator,
  TransactionManager,
  TransientError,
} from 'unanimous';
import { environment } from '../../coordinator/environment.ts';
import { backoffMs } from '../../coordinator/run.ts';
import { assert, suite } from '../support/suite.ts';
import { gate, raise, recording, suppressedBy, thrownBy, turns, wholeCommit } from './recording.ts';

const test = suite('run');

interface Runner {
  readonly current: Transaction | undefined;
  begin(): Promise<Transaction>;
  commit(): Promise<void>;
  abort(): Promise<void>;
  run<T>(fn: (txn: Transaction) => Awaitable<T>, options?: RunOptions): Promise<T>;
}

const quick = { backoff: false } as const;
const transient = (): TransientError => new TransientError('again');

const runners: [string, (told?: Error[]) => Runner][] = [
  ['manager', (told = []) => new TransactionManager({ onError: (error) => void told.push(error) })],
  ['coordinator', (told = []) => new TransactionCoordinator({ onError: (error) => void told.push(error) })],
];

for (const [kind, make] of runners) {
  test(`zope 34: run begins, calls, commits and returns the result (${kind})`, async () => {
    const log: string[] = [];
    const runner = make();
    let txn: Transaction | undefined;
    const result = await runner.run(async (given) => {
      txn = given;
      assert.is(runner.current, given);
      given.join(recording(log, 'a'));
      await turns();
      assert.is(runner.current, given);
      return 'result';
    });
    assert.is(result, 'result');
    assert.is(txn?.status, 'committed');
    assert.equal(log, wholeCommit('a'));
    assert.is(runner.current, undefined);
  });

  test(`zope 34, 38: by default a transient error is tried three times, and the last one is thrown (${kind})`, async () => {
    const log: string[] = [];
    const errors: Error[] = [];
    const seen: Transaction[] = [];
    const thrown = await assert.rejects(
      make().run(
        (txn) => {
          seen.push(txn);
          txn.join(recording(log, 'a'));
          throw errors[errors.push(transient()) - 1]!;
        },
        { backoff: { baseMs: 1, maxMs: 2 } },
      ),
    );
    assert.is(errors.length, 3);
    assert.is(thrown, errors[2]);
    assert.equal(log, ['a.abort', 'a.abort', 'a.abort']);
    assert.equal(
      seen.map(({ attempt }) => attempt),
      [1, 2, 3],
    );
    assert.is(new Set(seen.map(({ id }) => id)).size, 3);
    assert.equal(
      seen.map(({ status }) => status),
      ['aborted', 'aborted', 'aborted'],
    );
  });

  test(`zope 28, 38: a transient error of the commit is tried again, in a fresh transaction (${kind})`, async () => {
    const log: string[] = [];
    let attempts = 0;
    const result = await make().run((txn) => {
      txn.join(recording(log, 'a', ++attempts === 1 ? { fails: { tpcVote: transient() } } : {}));
      return attempts;
    }, quick);
    assert.is(result, 2);
    assert.equal(log, ['a.tpcBegin', 'a.commit', 'a.tpcVote', 'a.abort', 'a.tpcAbort', 'a.abort', ...wholeCommit('a')]);
  });

  test(`zope 38: any other error aborts and is thrown as it is (${kind})`, async () => {
    for (const error of [new Error('final'), 'a text', undefined]) {
      const log: string[] = [];
      const runner = make();
      let calls = 0;
      const thrown = await assert.rejects(
        runner.run((txn) => {
          calls++;
          txn.join(recording(log, 'a'));
          raise(error);
        }, quick),
      );
      assert.is(thrown as unknown, error);
      assert.is(calls, 1);
      assert.equal(log, ['a.abort']);
      assert.is(runner.current, undefined);
    }
  });

  test(`zope 39: a data manager's shouldRetry counts, asked before the abort and not for the last attempt (${kind})`, async () => {
    const asked: string[] = [];
    const error = new Error('serialization failure');
    let calls = 0;
    const thrown = await assert.rejects(
      make().run(
        (txn) => {
          calls++;
          const shouldRetry = (given: Error): boolean => given === error && asked.push(txn.status) > 0;
          txn.join(recording([], 'a', { shouldRetry }));
          throw error;
        },
        { ...quick, attempts: 3 },
      ),
    );
    assert.is(thrown, error);
    assert.is(calls, 3);
    assert.equal(asked, ['active', 'active']);
  });

  test(`a transient error among the causes is tried again (${kind})`, async () => {
    let calls = 0;
    await make().run(() => {
      if (++calls === 1) throw new Error('wrapped', { cause: new Error('twice', { cause: transient() }) });
    }, quick);
    assert.is(calls, 2);
  });

  test(`zope 30: a shouldRetry that throws means no, and hangs on the error, which is thrown; the transaction is ended (${kind})`, async () => {
    const log: string[] = [];
    const error = new Error('final');
    const inShouldRetry = new Error('shouldRetry failed');
    const runner = make();
    const thrown = await assert.rejects(
      runner.run((txn) => {
        txn.join(
          recording(log, 'a', {
            shouldRetry: () => {
              throw inShouldRetry;
            },
          }),
        );
        throw error;
      }, quick),
    );
    assert.is(thrown, error);
    assert.equal(suppressedBy(error), [inShouldRetry]);
    assert.equal(log, ['a.abort']);
    assert.is(runner.current, undefined);
  });

  test(`zope 40: what is no Error aborts and is never tried again, but for what says that it is transient (${kind})`, async () => {
    for (const [thrown, expected] of [
      ['interrupt', 1],
      [null, 1],
      [Symbol('interrupt'), 1],
      [{ isTransient: true }, 2],
    ] as const) {
      let calls = 0;
      const runner = make();
      await assert.rejects(
        runner.run(
          () => {
            calls++;
            raise(thrown);
          },
          { ...quick, attempts: 2 },
        ),
        (error: unknown) => error === thrown,
      );
      assert.is(calls, expected);
      assert.is(runner.current, undefined);
    }
  });

  test(`zope 36: attempts must be a whole number of at least 1 (${kind})`, async () => {
    for (const attempts of [0, -1, 1.5, NaN, Infinity, '3', null]) {
      let called = false;
      const run = make().run(() => (called = true), { attempts: attempts as never });
      const error = await assert.rejects(run, RangeError);
      assert.match(error.message, 'must be a whole number of at least 1, not ');
      assert.is(called, false);
    }
  });

  test(`departure from zope 35: run takes a function and options, and is no decorator (${kind})`, async () => {
    const runner = make();
    for (const value of [undefined, null, 3, 'fn', {}]) {
      const error = await assert.rejects(runner.run(value as never), ConfigurationError);
      assert.match(error.message, 'run() takes a function, not ');
    }
    await assert.rejects(
      runner.run(() => 1, 3 as never),
      ConfigurationError,
    );
  });

  test(`departure from zope 37: the note is the option, else the name of the function, unless it has none or _ (${kind})`, async () => {
    const noteOf = async (fn: (txn: Transaction) => string, options?: RunOptions): Promise<string> =>
      make().run(fn, options);
    function transferMoney(txn: Transaction): string {
      return txn.description;
    }
    const _ = (txn: Transaction): string => txn.description;
    assert.is(await noteOf(transferMoney), 'transferMoney');
    assert.is(await noteOf(transferMoney, { note: 'why' }), 'why');
    assert.is(await noteOf(_), '');
    assert.is(await noteOf((txn) => txn.description), '');
  });

  test(`departure from zope 42: a function may have finished the transaction itself (${kind})`, async () => {
    for (const end of ['commit', 'abort'] as const) {
      const log: string[] = [];
      const runner = make();
      const result = await runner.run(async (txn) => {
        txn.join(recording(log, 'a'));
        await runner[end]();
        return txn.status;
      });
      assert.is(result, end === 'commit' ? 'committed' : 'aborted');
      assert.equal(log, end === 'commit' ? wholeCommit('a') : ['a.abort']);
    }
  });

  test(`departure from zope 42: run waits for an end that the function began and did not await (${kind})`, async () => {
    const wait = gate();
    const log: string[] = [];
    const run = make().run((txn) => {
      txn.join(recording(log, 'a', { waits: { tpcVote: wait.promise } }));
      void txn.commit();
      return txn;
    });
    setImmediate(wait.open);
    assert.is((await run).status, 'committed');
    assert.equal(log, wholeCommit('a'));
  });

  test(`departure from zope 42: an error after the function has committed is thrown, and neither undone nor retried (${kind})`, async () => {
    const log: string[] = [];
    const error = transient();
    const thrown = await assert.rejects(
      make().run(async (txn) => {
        txn.join(recording(log, 'a'));
        await txn.commit();
        throw error;
      }, quick),
    );
    assert.is(thrown, error);
    assert.equal(suppressedBy(error), []);
    assert.equal(log, wholeCommit('a'));
  });

  test(`departure from zope 42: an error after the function began to commit waits for the end of that commit (${kind})`, async () => {
    const log: string[] = [];
    const wait = gate();
    const error = new Error('after');
    let txn: Transaction | undefined;
    const run = make().run((given) => {
      txn = given;
      given.join(recording(log, 'a', { waits: { tpcVote: wait.promise } }));
      void given.commit();
      throw error;
    }, quick);
    setImmediate(wait.open);
    assert.is(await assert.rejects(run), error);
    assert.equal(suppressedBy(error), []);
    assert.is(txn?.status, 'committed');
    assert.equal(log, wholeCommit('a'));
  });

  test(`zope 41: run ends whichever transaction is current afterwards (${kind})`, async () => {
    const runner = make();
    for (const fails of [false, true]) {
      let second: Transaction | undefined;
      const run = runner.run(async (txn) => {
        await txn.abort();
        second = await runner.begin();
        if (fails) throw new Error('final');
      });
      await run.catch(() => undefined);
      assert.is(second?.status, fails ? 'aborted' : 'committed');
      assert.is(runner.current, undefined);
    }
  });

  test(`zope 44: dooming makes run throw DoomedTransaction after one attempt, aborted (${kind})`, async () => {
    const log: string[] = [];
    const runner = make();
    let calls = 0;
    await assert.rejects(
      runner.run((txn) => {
        calls++;
        txn.join(recording(log, 'a'));
        txn.doom();
      }, quick),
      DoomedTransaction,
    );
    assert.is(calls, 1);
    assert.equal(log, ['a.abort']);
    assert.is(runner.current, undefined);
  });

  test(`departure from zope 23, 24, 32: a failed commit is always aborted and leaves the manager free (${kind})`, async () => {
    for (const attempts of [1, 2]) {
      const runner = make();
      const log: string[] = [];
      const error = new Error('no');
      assert.is(
        await assert.rejects(
          runner.run((txn) => txn.join(recording(log, 'a', { fails: { commit: error } })), { ...quick, attempts }),
        ),
        error,
      );
      assert.equal(log, ['a.tpcBegin', 'a.commit', 'a.abort', 'a.tpcAbort', 'a.abort']);
      assert.is(runner.current, undefined);
    }
  });

  test(`departure from zope 33: an error of the abort hangs on the original and never replaces it (${kind})`, async () => {
    const told: Error[] = [];
    const error = new Error('original');
    const inAbort = new Error('abort failed');
    const runner = make(told);
    for (const thrown of [error, 'a text']) {
      const run = runner.run((txn) => {
        txn.join(recording([], 'a', { fails: { abort: inAbort } }));
        raise(thrown);
      });
      assert.is((await assert.rejects(run)) as unknown, thrown);
      assert.is(runner.current, undefined);
    }
    assert.equal(suppressedBy(error), [inAbort]);
    // Nothing can hang on what is no Error.
    assert.equal(told, [inAbort]);
  });

  test(`an outcome that is not known is never tried again, whatever caused it and whatever wraps it (${kind})`, async () => {
    const unknown = new CommitOutcomeUnknownError('reply lost', { cause: transient() });
    const doubt = new InDoubtError('in doubt', { cause: transient(), finished: [], unfinished: ['a'] });
    for (const error of [
      unknown,
      doubt,
      new Error('wrapped', { cause: unknown }),
      new TransientError('wrapped', { cause: doubt }),
      Object.assign(new Error('of another copy of the package'), { code: 'ERR_TXN_IN_DOUBT', isTransient: true }),
      Object.assign(new Error('of another copy of the package'), {
        code: 'ERR_TXN_OUTCOME_UNKNOWN',
        isTransient: true,
      }),
    ]) {
      let calls = 0;
      const run = make().run((txn) => {
        calls++;
        txn.join(recording([], 'a', { shouldRetry: () => true }));
        throw error;
      }, quick);
      assert.is(await assert.rejects(run), error);
      assert.is(calls, 1, error.message);
    }
  });

  test(`a commit that ends in doubt is never tried again (${kind})`, async () => {
    for (const fails of [
      { tpcFinish: transient() },
      { tpcVote: new CommitOutcomeUnknownError('reply lost', { cause: transient() }) },
    ]) {
      let calls = 0;
      const runner = make();
      const run = runner.run((txn) => {
        calls++;
        txn.join(recording([], 'a', { fails, shouldRetry: () => true }));
      }, quick);
      await assert.rejects(
        run,
        (error: unknown) => error instanceof InDoubtError || error instanceof CommitOutcomeUnknownError,
      );
      assert.is(calls, 1);
      assert.is(runner.current, undefined);
    }
  });

  test(`options hold for every attempt (${kind})`, async () => {
    const seen: unknown[] = [];
    await make().run(
      ({ options, user, description, attempt }) => {
        seen.push([options.isolation, options.readOnly, options.deferrable, user, description]);
        if (attempt < 3) throw transient();
      },
      { ...quick, isolation: 'serializable', readOnly: true, deferrable: true, user: 'jim', note: 'why' },
    );
    assert.equal(
      seen,
      Array.from({ length: 3 }, () => ['serializable', true, true, '/ jim', 'why']),
    );
  });
}

test("zope 43: the plain manager's run always has its own transaction: explicit refuses, implicit aborts the outer work", async () => {
  const explicit = new TransactionManager();
  const outer = await explicit.begin();
  await assert.rejects(
    explicit.run(() => undefined),
    AlreadyInTransaction,
  );
  assert.is(outer.status, 'active');

  const log: string[] = [];
  const implicit = new TransactionManager({ explicit: false });
  const lost = await implicit.begin();
  lost.join(recording(log, 'a'));
  await implicit.run((txn) => assert.is.not(txn, lost));
  assert.is(lost.status, 'aborted');
  assert.equal(log, ['a.abort']);
});

test("departure from zope 43: the coordinator's run takes part in the active transaction", async () => {
  const coordinator = new TransactionCoordinator();
  await coordinator.run(async (outer) => {
    await coordinator.run((inner) => assert.is(inner, outer));
    assert.is(outer.status, 'active');
  });
});

test('departure from zope 45: the wait between attempts grows exponentially, up to the longest, and half of it is random', () => {
  const { random } = environment;
  try {
    const waits = (options: { baseMs?: number; maxMs?: number }): number[] =>
      [1, 2, 3, 4, 11, 2000].map((attempt) => backoffMs(attempt, options));
    environment.random = () => 0;
    assert.equal(waits({}), [5, 10, 20, 40, 500, 500]);
    assert.equal(waits({ baseMs: 100, maxMs: 150 }), [50, 75, 75, 75, 75, 75]);
    environment.random = () => 1;
    assert.equal(waits({}), [10, 20, 40, 80, 1000, 1000]);
  } finally {
    environment.random = random;
  }
});

test('departure from zope 45: it waits between attempts, not before the first nor after the last; false does not', async () => {
  const { setTimer } = environment;
  const delays: number[] = [];
  environment.setTimer = (callback, delayMs, referenced) => {
    delays.push(delayMs);
    return setTimer(callback, 0, referenced);
  };
  try {
    const run = (options: RunOptions): Promise<unknown> =>
      new TransactionManager()
        .run(() => {
          throw transient();
        }, options)
        .catch(() => undefined);
    await run({ attempts: 4, backoff: { baseMs: 8 } });
    assert.is(delays.length, 3);
    delays.forEach((delayMs, index) => {
      const longest = 8 * 2 ** index;
      assert.ok(delayMs >= longest / 2 && delayMs <= longest, `${delayMs} of ${longest}`);
    });
    delays.length = 0;
    await run({ attempts: 4, backoff: false });
    assert.equal(delays, []);
  } finally {
    environment.setTimer = setTimer;
  }
});

test('a signal ends the wait between attempts, and begins nothing more', async () => {
  const controller = new AbortController();
  let calls = 0;
  const run = new TransactionManager().run(
    () => {
      calls++;
      setImmediate(() => controller.abort(new Error('enough')));
      throw transient();
    },
    { signal: controller.signal, backoff: { baseMs: 1_000_000, maxMs: 1_000_000 } },
  );
  const error = await assert.rejects(run, DoomedTransaction);
  assert.is(calls, 1);
  assert.match(error.message, 'enough');
});

test('the wait between attempts leaves no listener on the signal', async () => {
  const { signal } = new AbortController();
  const listeners: number[] = [];
  await new TransactionManager().run(
    ({ attempt }) => {
      listeners.push(getEventListeners(signal, 'abort').length);
      if (attempt < 3) throw transient();
    },
    { signal, backoff: { baseMs: 1, maxMs: 1 } },
  );
  assert.equal(listeners, [1, 1, 1]);
  assert.is(getEventListeners(signal, 'abort').length, 0);
});

test('a wrong backoff is refused, and the message says what it must be', async () => {
  await new TransactionManager().run(() => undefined, { backoff: { baseMs: 1, maxMs: undefined } });
  const wrong = [true, 7, null, 'fast', { base: 1 }, { baseMs: -1 }, { maxMs: '1' }, { baseMs: 1, max: 2 }];
  for (const backoff of wrong) {
    const error = await assert.rejects(
      new TransactionManager().run(() => undefined, { backoff: backoff as never }),
      ConfigurationError,
    );
    assert.match(error.message, "'backoff' must be false or an object with baseMs and maxMs, in milliseconds, not ");
  }
});

test('a function that throws before it returns a promise is handled as one that rejects', async () => {
  const manager = new TransactionManager();
  const error = new Error('thrown at once');
  const run = manager.run(() => {
    throw error;
  });
  assert.is(await assert.rejects(run), error);
  assert.is(manager.current, undefined);
  assert.instance(
    thrownBy(() => manager.get()),
    Error,
  );
});

test('one copy of the result is returned: what a thenable answers is awaited', async () => {
  // oxlint-disable-next-line unicorn/no-thenable
  const thenable = { then: (resolve: (value: string) => void) => resolve('answer') };
  assert.is(await new TransactionManager().run(() => thenable as unknown as Promise<string>), 'answer');
});

test('who waits for the next attempt keeps the process alive, and doesn’t wait at all where its signal is aborted already', async () => {
  const { setTimer } = environment;
  const timers: [number, boolean][] = [];
  environment.setTimer = (callback, delayMs, referenced) => {
    timers.push([delayMs, referenced]);
    return setTimer(callback, 0, referenced);
  };
  try {
    const backoff = { baseMs: 100, maxMs: 100 };
    const controller = new AbortController();
    const manager = new TransactionManager();
    const work = (abort: boolean): Promise<unknown> =>
      manager.run(
        () => {
          if (abort) controller.abort(new Error('enough'));
          throw transient();
        },
        { attempts: 2, backoff, signal: controller.signal },
      );
    await assert.rejects(work(false), TransientError);
    assert.equal(
      timers.map(([delayMs, referenced]) => [delayMs >= 50 && delayMs <= 100, referenced]),
      [[true, true]],
    );
    timers.length = 0;
    await assert.rejects(work(true), DoomedTransaction);
    assert.equal(timers, []);
  } finally {
    environment.setTimer = setTimer;
  }
});
