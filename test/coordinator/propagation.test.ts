// Protects what run of the coordinator does where a transaction is, or isn't, active already.
import {
  AlreadyInTransaction,
  type Awaitable,
  ConfigurationError,
  type CoordinatorRunOptions,
  DoomedTransaction,
  NoTransaction,
  type Propagation,
  SavepointsUnsupportedError,
  type Transaction,
  TransactionClosed,
  TransactionCoordinator,
  TransientError,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { gate, recording, suppressedBy, thrownBy, turns, wholeCommit } from './recording.ts';

const test = suite('propagation');

type Run = <T>(fn: (txn: Transaction | undefined) => Awaitable<T>, options?: object) => Promise<T>;

/** A coordinator, and its run with one propagation. */
function make(propagation?: Propagation): { coordinator: TransactionCoordinator; run: Run } {
  const coordinator = new TransactionCoordinator();
  const run: Run = (fn, options = {}) =>
    coordinator.run(
      fn as () => never,
      { ...(propagation === undefined ? {} : { propagation }), ...options } as CoordinatorRunOptions & {
        propagation: 'required';
      },
    );
  return { coordinator, run };
}

for (const propagation of [undefined, 'required', 'requires-new', 'nested'] as const) {
  test(`${propagation ?? 'the default'}: without a transaction it begins and commits its own, and retries`, async () => {
    const log: string[] = [];
    const { coordinator, run } = make(propagation);
    const result = await run(
      (txn) => {
        assert.is(coordinator.get(), txn);
        txn!.join(recording(log, 'a'));
        if (txn!.attempt === 1) throw new TransientError('again');
        return txn!.attempt;
      },
      { backoff: false },
    );
    assert.is(result, 2);
    assert.equal(log, ['a.abort', ...wholeCommit('a')]);
    assert.is(coordinator.current, undefined);
  });
}

for (const propagation of [undefined, 'required', 'mandatory', 'supports'] as const) {
  const name = propagation ?? 'the default';

  test(`${name}: takes part in the active transaction, and neither commits nor retries it`, async () => {
    const log: string[] = [];
    const { coordinator, run } = make(propagation);
    await coordinator.run(async (outer) => {
      const result = await run(async (txn) => {
        await turns();
        assert.is(txn, outer);
        assert.is(coordinator.get(), outer);
        txn!.join(recording(log, 'a'));
        return 'inner';
      });
      assert.is(result, 'inner');
      assert.is(outer.status, 'active');
      assert.equal(log, []);
    });
    assert.equal(log, wholeCommit('a'));
  });

  test(`${name}: an error that leaves it dooms the transaction, also when the caller swallows it`, async () => {
    const log: string[] = [];
    const { coordinator, run } = make(propagation);
    const error = new TransientError('inner');
    let calls = 0;
    const outer = coordinator.run(
      async (txn) => {
        txn.join(recording(log, 'a'));
        const inner = run(
          () => {
            calls++;
            throw error;
          },
          { attempts: 3 },
        );
        assert.is(await assert.rejects(inner), error);
        assert.is(txn.status, 'doomed');
      },
      { attempts: 1 },
    );
    const thrown = await assert.rejects(outer, DoomedTransaction);
    assert.is(thrown.cause, error);
    assert.is(calls, 1);
    assert.equal(log, ['a.abort']);
  });

  test(`${name}: the error of a joined run is thrown as it is by the outer one, which retries it where it is transient`, async () => {
    const { coordinator, run } = make(propagation);
    let calls = 0;
    const result = await coordinator.run(
      () =>
        run(() => {
          if (++calls === 1) throw new TransientError('inner');
          return calls;
        }),
      { backoff: false },
    );
    assert.is(result, 2);
    const error = new Error('final');
    assert.is(await assert.rejects(coordinator.run(() => run(() => Promise.reject(error)))), error);
  });

  test(`${name}: isolation, readOnly and deferrable that contradict the active transaction are refused, which goes on`, async () => {
    const { coordinator, run } = make(propagation);
    const cases: [object, object, boolean][] = [
      [{}, { isolation: 'serializable' }, false],
      [{ isolation: 'read committed' }, { isolation: 'serializable' }, false],
      [{ isolation: 'serializable' }, { isolation: 'read committed' }, false],
      [{ isolation: 'serializable' }, { isolation: 'serializable' }, true],
      [{ isolation: 'serializable' }, {}, true],
      [{ readOnly: true }, { readOnly: false }, false],
      [{ readOnly: true }, { readOnly: true }, true],
      [{}, { readOnly: false }, true],
      [{ deferrable: true }, { deferrable: false }, false],
      [{}, { deferrable: true }, false],
      [{}, { deferrable: false }, true],
    ];
    for (const [outer, inner, fits] of cases) {
      await coordinator.run(async (txn) => {
        let called = false;
        const joined = run(() => (called = true), inner);
        if (fits) {
          await joined;
        } else {
          const error = await assert.rejects(joined, ConfigurationError);
          assert.match(error.message, Object.keys(inner)[0]!);
          assert.match(error.message, "use the propagation 'requires-new'");
        }
        assert.is(called, fits);
        assert.is(txn.status, 'active');
      }, outer);
    }
  });
}

test('requires-new: its own transaction, in a context of its own; the outer one waits untouched, whatever comes of it', async () => {
  const { coordinator, run } = make('requires-new');
  const log: string[] = [];
  await coordinator.run(async (outer) => {
    outer.join(recording(log, 'outer'));
    await run(async (own) => {
      assert.is.not(own, outer);
      assert.is(coordinator.get(), own);
      own!.join(recording(log, 'inner'));
      await turns();
    });
    assert.equal(log, wholeCommit('inner'));
    const error = new Error('inner');
    assert.is(await assert.rejects(run(() => Promise.reject(error), { isolation: 'serializable' })), error);
    assert.is(coordinator.get(), outer);
    assert.is(outer.status, 'active');
  });
  assert.equal(log, [...wholeCommit('inner'), ...wholeCommit('outer')]);
});

test('nested: an error undoes what it did and nothing else, and the outer transaction commits', async () => {
  const log: string[] = [];
  const { coordinator, run } = make('nested');
  const error = new TransientError('inner');
  let calls = 0;
  await coordinator.run(async (outer) => {
    outer.join(recording(log, 'a', { savepoints: true }));
    const inner = run((txn) => {
      calls++;
      assert.is(txn, outer);
      outer.join(recording(log, 'b'));
      outer.addAfterCommitHook(() => log.push('hook of the inner one'));
      throw error;
    });
    assert.is(await assert.rejects(inner), error);
    assert.is(outer.status, 'active');
    assert.equal(log, ['a.savepoint', 'a.rollback', 'b.abort']);
    log.length = 0;
  });
  assert.is(calls, 1);
  assert.equal(log, wholeCommit('a'));
});

test('nested: what succeeded is part of the outer transaction', async () => {
  const log: string[] = [];
  const { coordinator, run } = make('nested');
  await coordinator.run(async (outer) => {
    outer.join(recording(log, 'a', { savepoints: true }));
    assert.is(await run(() => 'result'), 'result');
  });
  assert.equal(log, ['a.savepoint', ...wholeCommit('a')]);
});

test('nested: a data manager without savepoints fails the transaction before the function is called', async () => {
  const log: string[] = [];
  const { coordinator, run } = make('nested');
  let called = false;
  const outer = coordinator.run(async (txn) => {
    txn.join(recording(log, 'a'));
    await run(() => (called = true));
  });
  await assert.rejects(outer, SavepointsUnsupportedError);
  assert.is(called, false);
  assert.equal(log, ['a.abort', 'a.tpcAbort', 'a.abort']);
});

test('nested: a rollback that fails hangs on the error, which is thrown; the transaction has failed', async () => {
  const { coordinator, run } = make('nested');
  const error = new Error('inner');
  const inRollback = new Error('rollback failed');
  const outer = coordinator.run(async (txn) => {
    txn.join(recording([], 'a', { savepoints: true, fails: { rollback: inRollback } }));
    await assert.rejects(run(() => Promise.reject(error)));
    assert.is(txn.status, 'commit failed');
  });
  const failed = await assert.rejects(outer, { code: 'ERR_TXN_FAILED' });
  assert.is(failed.cause, inRollback);
  assert.equal(suppressedBy(error), [inRollback]);
});

test('nested: a run that takes part in it and fails fails the nested one, and the outer transaction goes on', async () => {
  const log: string[] = [];
  const { coordinator, run } = make('nested');
  const error = new Error('joined');
  await coordinator.run(async (outer) => {
    outer.join(recording(log, 'a', { savepoints: true }));
    const nested = run(async () => {
      await coordinator.run(() => Promise.reject(error)).catch(() => undefined);
      return 'as if nothing had been';
    });
    const thrown = await assert.rejects(nested, DoomedTransaction);
    assert.is(thrown.cause, error);
    assert.is(outer.status, 'active');
  });
  assert.equal(log, ['a.savepoint', 'a.rollback', ...wholeCommit('a')]);
});

test('pitfall 4: nested siblings take turns, so that the rollback of one loses nothing of another', async () => {
  const rows: string[] = [];
  const { coordinator, run } = make('nested');
  await coordinator.run(async (outer) => {
    outer.join({
      ...recording([], 'rows'),
      savepoint: () => {
        const { length } = rows;
        return { rollback: () => void (rows.length = length) };
      },
    });
    const sibling = (name: string, pauses: number, fails: boolean): Promise<string> =>
      run(async () => {
        coordinator.enlist();
        rows.push(`${name} first`);
        await turns(pauses);
        coordinator.enlist();
        rows.push(`${name} second`);
        await run(() => rows.push(`${name} inner`));
        if (fails) throw new Error(name);
        return name;
      });
    const ended = await Promise.allSettled([
      sibling('a', 3, true),
      sibling('b', 1, false),
      sibling('c', 2, true),
      sibling('d', 0, false),
    ]);
    assert.equal(
      ended.map((each) => (each.status === 'fulfilled' ? each.value : each.reason.message)),
      ['a', 'b', 'c', 'd'],
    );
  });
  assert.equal(rows, ['b first', 'b second', 'b inner', 'd first', 'd second', 'd inner']);
});

test('nested: a run that takes part beside it and fails dooms the transaction, and leaves the nested one alone', async () => {
  const { coordinator, run } = make('nested');
  const error = new Error('beside');
  const outer = coordinator.run(async (txn) => {
    const beside = coordinator.run(async () => {
      await turns(2);
      throw error;
    });
    const nested = run(async () => {
      await turns(4);
      return 'nested';
    });
    assert.equal(
      (await Promise.allSettled([beside, nested])).map(({ status }) => status),
      ['rejected', 'fulfilled'],
    );
    assert.is(txn.status, 'doomed');
  });
  const thrown = await assert.rejects(outer, DoomedTransaction);
  assert.is(thrown.cause, error);
});

test('nested: a run that takes part in it, outlives it and then fails dooms the transaction', async () => {
  const { coordinator, run } = make('nested');
  const error = new Error('late');
  const outer = coordinator.run(async (txn) => {
    const wait = gate();
    let late: Promise<unknown> | undefined;
    await run(() => {
      late = coordinator.run(() => wait.promise.then(() => Promise.reject(error)));
    });
    wait.open();
    assert.is(await assert.rejects(late!), error);
    assert.is(txn.status, 'doomed');
  });
  await assert.rejects(outer, DoomedTransaction);
});

test('pitfall 4: work beside an open nested run, and work that outlives one, is refused', async () => {
  const { coordinator, run } = make('nested');
  await coordinator.run(async (outer) => {
    const wait = gate();
    const late = gate<string>();
    const nested = run(async () => {
      setImmediate(() => setImmediate(() => setImmediate(() => late.open(thrownBy(() => coordinator.enlist()).code))));
      await wait.promise;
    });
    await turns();
    assert.is(thrownBy(() => coordinator.enlist()).code, 'ERR_TXN_CONCURRENT_USE');
    assert.is(coordinator.get(), outer);
    wait.open();
    await nested;
    assert.is(coordinator.enlist(), outer);
    assert.is(await late.promise, 'ERR_TXN_CLOSED');
  });
});

test('nested: a sibling that waits for its turn is refused when the transaction ends meanwhile', async () => {
  const { coordinator, run } = make('nested');
  let waiting: Promise<unknown> | undefined;
  const outer = coordinator.run(async (txn) => {
    void run(() => new Promise(() => undefined));
    await turns();
    waiting = run(() => 'never');
    waiting.catch(() => undefined);
    await turns();
    await txn.abort();
  });
  await outer;
  await assert.rejects(waiting!, TransactionClosed);
});

test('mandatory: without a transaction it throws NoTransaction and calls nothing', async () => {
  const { run } = make('mandatory');
  let called = false;
  await assert.rejects(
    run(() => (called = true)),
    NoTransaction,
  );
  assert.is(called, false);
});

test('mandatory: where the transaction of this chain has ended it throws TransactionClosed', async () => {
  const { coordinator, run } = make('mandatory');
  await coordinator.context(async () => {
    await coordinator.begin();
    await coordinator.commit();
    await assert.rejects(
      run(() => undefined),
      TransactionClosed,
    );
  });
});

test('supports: without a transaction it runs without one', async () => {
  const { coordinator, run } = make('supports');
  assert.is(
    await run((txn) => {
      assert.is(txn, undefined);
      assert.is(coordinator.current, undefined);
      return 'result';
    }),
    'result',
  );
});

test('not-supported: runs without a transaction; the outer one waits untouched, also when it throws', async () => {
  const { coordinator, run } = make('not-supported');
  assert.is(await run((txn) => txn), undefined);
  await coordinator.run(async (outer) => {
    await run(async (txn) => {
      assert.is(txn, undefined);
      await turns();
      assert.is(coordinator.current, undefined);
    });
    const error = new Error('thrown');
    assert.is(await assert.rejects(run(() => Promise.reject(error))), error);
    assert.is(coordinator.get(), outer);
    assert.is(outer.status, 'active');
  });
});

test('never: runs where there is no transaction, and throws AlreadyInTransaction where there is one', async () => {
  const { coordinator, run } = make('never');
  assert.is(await run((txn) => txn ?? 'none'), 'none');
  await coordinator.run(async (outer) => {
    let called = false;
    const error = await assert.rejects(
      run(() => (called = true)),
      AlreadyInTransaction,
    );
    assert.is(error.xid, outer.id);
    assert.is(called, false);
    assert.is(outer.status, 'active');
  });
});

test('every propagation refuses a wrong number of attempts, also where it would not retry', async () => {
  for (const propagation of [
    'required',
    'requires-new',
    'nested',
    'mandatory',
    'supports',
    'not-supported',
    'never',
  ] as const) {
    const { coordinator, run } = make(propagation);
    await assert.rejects(
      run(() => undefined, { attempts: 0 }),
      RangeError,
    );
    await coordinator.run(async (txn) => {
      await assert.rejects(
        run(() => undefined, { attempts: 0 }),
        RangeError,
      );
      assert.is(txn.status, 'active');
    });
  }
});

test('a run that takes part may end the transaction itself, and then its errors doom nothing', async () => {
  const { coordinator } = make();
  const error = new Error('after the end');
  await coordinator.run(async (outer) => {
    const joined = coordinator.run(async () => {
      await coordinator.commit();
      throw error;
    });
    assert.is(await assert.rejects(joined), error);
    assert.is(outer.status, 'committed');
  });
});

for (const where of ['a before-commit hook', 'a synchronizer'] as const) {
  test(`a run that takes part from ${where} and fails fails the commit, also where its caller catches the error`, async () => {
    const log: string[] = [];
    const { coordinator } = make();
    const half = new Error('half of it');
    const takePart = async (): Promise<void> => {
      const joined = coordinator.run((txn) => {
        txn.join(recording(log, 'a'));
        throw half;
      });
      assert.is(await assert.rejects(joined), half);
    };
    const work = coordinator.context(async () => {
      if (where === 'a synchronizer') coordinator.registerSynch({ beforeCompletion: takePart });
      await coordinator.run((txn) => {
        if (where === 'a before-commit hook') txn.addBeforeCommitHook(takePart);
      });
    });
    const error = await assert.rejects(work, DoomedTransaction);
    assert.is(error.cause, half);
    assert.equal(new Set(log), new Set(['a.abort']));
  });
}

test('where the transaction has failed already, whoever takes part throws its own error, not one about that', async () => {
  const { coordinator } = make();
  const no = new Error('no');
  const work = coordinator.run(async (txn) => {
    txn.join(recording([], 'a', { savepoints: true, fails: { savepoint: no } }));
    await coordinator.run(async () => {
      await txn.savepoint();
    });
  });
  assert.is(await assert.rejects(work), no);
});

test('nested: what ends the transaction itself and throws has no further error, as there is nothing to return to', async () => {
  const { coordinator } = make();
  const error = new Error('enough');
  const work = coordinator.run(async (txn) => {
    const nested = coordinator.run(
      async () => {
        await txn.abort();
        throw error;
      },
      { propagation: 'nested' },
    );
    await nested;
  });
  assert.is(await assert.rejects(work), error);
  assert.equal(suppressedBy(error), []);
});
