// Protects the loop over attempts(): how often it goes round, for which errors, and that each attempt is ended.
import {
  type Attempt,
  ConfigurationError,
  DoomedTransaction,
  InDoubtError,
  type Transaction,
  TransactionCoordinator,
  TransactionManager,
  TransientError,
} from 'unanimous';
import { environment } from '../../coordinator/environment.ts';
import { assert, suite } from '../support/suite.ts';
import { recording, suppressedBy, wholeCommit } from './recording.ts';

const test = suite('attempts');

const quick = { backoff: false } as const;
const transient = (): TransientError => new TransientError('again');

interface Looping {
  readonly current: Transaction | undefined;
  attempts(number?: number, options?: object): AsyncGenerator<Attempt, void, undefined>;
}

/** Goes round the loop with a function; returns what each attempt returned. */
async function loop(
  looping: Looping,
  fn: (txn: Transaction) => unknown,
  number?: number,
  options: object = quick,
): Promise<unknown[]> {
  const results: unknown[] = [];
  for await (const attempt of looping.attempts(number, options)) results.push(await attempt(fn));
  return results;
}

for (const [kind, make] of [
  ['manager', () => new TransactionManager()],
  ['coordinator', () => new TransactionCoordinator()],
] as [string, () => Looping][]) {
  test(`zope 25: a number of attempts that is not at least 1 throws RangeError upon the first iteration (${kind})`, async () => {
    for (const number of [0, -1, 1.5, NaN, '3', null]) {
      const attempts = make().attempts(number as never);
      const error = await assert.rejects(attempts.next(), RangeError);
      assert.match(error.message, 'at least 1, not ');
    }
  });

  test(`zope 26, 31: the default is three attempts, and the error of the last one propagates (${kind})`, async () => {
    const errors: Error[] = [];
    const seen: number[] = [];
    const looping = make();
    const done = loop(
      looping,
      ({ attempt }) => {
        seen.push(attempt);
        throw errors[errors.push(transient()) - 1]!;
      },
      undefined,
    );
    assert.is(await assert.rejects(done), errors[2]);
    assert.equal(seen, [1, 2, 3]);
    assert.is(looping.current, undefined);
  });

  test(`zope 27: it stops after the first success, whose result the attempt returns (${kind})`, async () => {
    const log: string[] = [];
    const results = await loop(make(), (txn) => {
      txn.join(recording(log, 'a'));
      return 'result';
    });
    assert.equal(results, ['result']);
    assert.equal(log, wholeCommit('a'));
  });

  test(`zope 28: a retryable error of the body or of the commit aborts, is swallowed, and leads to the next attempt (${kind})`, async () => {
    const log: string[] = [];
    const results = await loop(make(), (txn) => {
      txn.join(recording(log, 'a', txn.attempt === 2 ? { fails: { tpcBegin: transient() } } : {}));
      if (txn.attempt === 1) throw transient();
      return txn.attempt;
    });
    assert.equal(results, [undefined, undefined, 3]);
    assert.equal(log, ['a.abort', 'a.tpcBegin', 'a.abort', 'a.tpcAbort', 'a.abort', ...wholeCommit('a')]);
  });

  test(`zope 29: any other error aborts and is thrown (${kind})`, async () => {
    const log: string[] = [];
    const error = new Error('final');
    const looping = make();
    let calls = 0;
    const done = loop(looping, (txn) => {
      calls++;
      txn.join(recording(log, 'a'));
      throw error;
    });
    assert.is(await assert.rejects(done), error);
    assert.is(calls, 1);
    assert.equal(log, ['a.abort']);
    assert.is(looping.current, undefined);
  });

  test(`zope 30: a data manager's shouldRetry counts, and is asked before the abort (${kind})`, async () => {
    const asked: string[] = [];
    const results = await loop(make(), (txn) => {
      txn.join(recording([], 'a', { shouldRetry: () => asked.push(txn.status) > 0 }));
      if (txn.attempt === 1) throw new Error('conflict');
      return 'done';
    });
    assert.equal(results, [undefined, 'done']);
    assert.equal(asked, ['active']);
  });

  test(`departure from zope 32: the last attempt's failed commit is aborted (${kind})`, async () => {
    const log: string[] = [];
    const looping = make();
    const error = transient();
    const done = loop(looping, (txn) => txn.join(recording(log, 'a', { fails: { commit: error } })), 1);
    assert.is(await assert.rejects(done), error);
    assert.equal(log, ['a.tpcBegin', 'a.commit', 'a.abort', 'a.tpcAbort', 'a.abort']);
    assert.is(looping.current, undefined);
  });

  test(`departure from zope 33: an error of the abort hangs on the original (${kind})`, async () => {
    const error = new Error('original');
    const inAbort = new Error('abort failed');
    const done = loop(make(), (txn) => {
      txn.join(recording([], 'a', { fails: { abort: inAbort } }));
      throw error;
    });
    assert.is(await assert.rejects(done), error);
    assert.equal(suppressedBy(error), [inAbort]);
  });

  test(`zope 44: dooming throws DoomedTransaction after one attempt, aborted (${kind})`, async () => {
    let calls = 0;
    const looping = make();
    const done = loop(looping, (txn) => {
      calls++;
      txn.doom();
    });
    await assert.rejects(done, DoomedTransaction);
    assert.is(calls, 1);
    assert.is(looping.current, undefined);
  });

  test(`an attempt that ends in doubt is the last (${kind})`, async () => {
    let calls = 0;
    const done = loop(make(), (txn) => {
      calls++;
      txn.join(recording([], 'a', { fails: { tpcFinish: transient() } }));
    });
    await assert.rejects(done, InDoubtError);
    assert.is(calls, 1);
  });

  test(`a loop that is left early leaves nothing open (${kind})`, async () => {
    const looping = make();
    for await (const attempt of looping.attempts(3, quick)) {
      await attempt((txn) => {
        if (txn.attempt === 1) throw transient();
      });
      break;
    }
    assert.is(looping.current, undefined);
  });

  test(`options are those of begin, and an unknown one is refused by name (${kind})`, async () => {
    const results = await loop(make(), (txn) => txn.options.isolation, 1, { isolation: 'serializable' });
    assert.equal(results, ['serializable']);
    for (const options of [{ attempts: 3 }, { isolaton: 'serializable' }]) {
      const error = await assert.rejects(make().attempts(3, options).next(), ConfigurationError);
      assert.match(error.message, `attempts() has no option '${Object.keys(options)[0]}'`);
    }
    await assert.rejects(
      make()
        .attempts(3, null as never)
        .next(),
      ConfigurationError,
    );
  });

  test(`an attempt takes a function (${kind})`, async () => {
    const looping = make();
    for (const value of [undefined, 'fn', {}]) {
      const error = await assert.rejects(loop(looping, value as never), ConfigurationError);
      assert.match(error.message, 'takes a function, not ');
      assert.is(looping.current, undefined);
    }
  });
}

test('each attempt of the coordinator has a context of its own, inside of the one where the loop is', async () => {
  const coordinator = new TransactionCoordinator();
  await coordinator.run(async (outer) => {
    const seen: Transaction[] = [];
    for await (const attempt of coordinator.attempts(2, quick)) {
      await attempt((txn) => {
        assert.is(coordinator.current, txn);
        seen.push(txn);
        if (txn.attempt === 1) throw transient();
      });
    }
    assert.is(seen.length, 2);
    assert.is(coordinator.current, outer);
    assert.is(outer.status, 'active');
  });
});

test('it waits between attempts, not after the one that succeeds nor after the last', async () => {
  const { setTimer } = environment;
  const delays: number[] = [];
  environment.setTimer = (callback, delayMs, referenced) => {
    delays.push(delayMs);
    return setTimer(callback, 0, referenced);
  };
  const failUntil =
    (last: number) =>
    ({ attempt }: Transaction): void => {
      if (attempt < last) throw transient();
    };
  try {
    const backoff = { baseMs: 100, maxMs: 100 };
    for (const [last, waits] of [
      [1, 0],
      [2, 1],
      [3, 2],
      [4, 2],
    ] as const) {
      delays.length = 0;
      await loop(new TransactionManager(), failUntil(last), 3, { backoff }).catch(() => undefined);
      assert.equal([delays.length, delays.every((delayMs) => delayMs >= 50 && delayMs <= 100)], [waits, true]);
    }
  } finally {
    environment.setTimer = setTimer;
  }
});

test('who catches the error of the last attempt gets no further one', async () => {
  let rounds = 0;
  for await (const attempt of new TransactionManager().attempts(2, quick)) {
    assert.ok(++rounds <= 2);
    await attempt(() => {
      throw transient();
    }).catch(() => undefined);
  }
  assert.is(rounds, 2);
});
