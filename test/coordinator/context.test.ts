// Protects contexts: which code belongs to which transaction, and that nothing ever works in another one by accident.
import { EventEmitter, once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { PassThrough } from 'node:stream';
import { Worker } from 'node:worker_threads';
import {
  AlreadyInTransaction,
  type Awaitable,
  ConfigurationError,
  NoTransaction,
  type Transaction,
  TransactionClosed,
  TransactionCoordinator,
  TransactionManager,
  TransactionStateError,
  transaction,
} from 'unanimous';
import { outside } from '../../coordinator/context.ts';
import { assert, suite } from '../support/suite.ts';
import { gate, recording, suppressedBy, thrownBy, turns, wholeCommit } from './recording.ts';

const test = suite('context');

/** What code sees of the transaction here: its id, or the code of the error. */
function seenBy(coordinator: TransactionCoordinator): string {
  try {
    return coordinator.get().id;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

test('zope 17: a transaction is invisible in another asynchronous context', async () => {
  const coordinator = new TransactionCoordinator();
  await coordinator.context(async () => {
    const txn = await coordinator.begin();
    await coordinator.context(async () => {
      assert.is(coordinator.current, undefined);
      assert.is(seenBy(coordinator), 'ERR_TXN_NO_TRANSACTION');
      const other = await coordinator.begin();
      assert.is.not(other, txn);
      await coordinator.commit();
    });
    assert.is(coordinator.current, txn);
    assert.is(txn.status, 'active');
    await coordinator.commit();
  });
});

test('zope 18: the manager of a context can be used from another one', async () => {
  const coordinator = new TransactionCoordinator();
  await coordinator.context(async () => {
    const { manager } = coordinator;
    const txn = await coordinator.begin();
    assert.is(manager.current, txn);
    await coordinator.context(async () => {
      assert.is.not(coordinator.manager, manager);
      assert.is(manager.get(), txn);
      await manager.commit();
    });
    assert.is(txn.status, 'committed');
    assert.is(coordinator.current, undefined);
  });
});

test('zope 18: the manager of code outside of any context is bound to its chain, and is one', async () => {
  const coordinator = new TransactionCoordinator();
  const { manager } = coordinator;
  assert.instance(manager, TransactionManager);
  assert.is(coordinator.manager, manager);
  await turns();
  assert.is(coordinator.manager, manager);
  const txn = await coordinator.begin();
  assert.is(manager.current, txn);
  await coordinator.abort();
});

test('zope 19: explicit can be set: of this context, and of those opened from now on', async () => {
  const coordinator = new TransactionCoordinator();
  assert.is(coordinator.explicit, true);
  await coordinator.context(async () => {
    assert.is(seenBy(coordinator), 'ERR_TXN_NO_TRANSACTION');
    coordinator.explicit = false;
    assert.is(coordinator.explicit, false);
    const txn = coordinator.get();
    assert.is(coordinator.get(), txn);
    await coordinator.begin();
    assert.is(txn.status, 'aborted');
    await coordinator.commit();
  });
  assert.is(coordinator.explicit, false);
  await coordinator.context(async () => {
    assert.is(coordinator.get().status, 'active');
    await coordinator.commit();
  });
  coordinator.configure({ explicit: true });
  assert.is(coordinator.explicit, true);
});

test('an option that is set to undefined stays as it was', () => {
  const coordinator = new TransactionCoordinator({ explicit: false });
  coordinator.configure({ explicit: undefined, app: undefined });
  assert.is(coordinator.explicit, false);
});

test('zope 20: the process-wide transaction is a coordinator, which has all that a manager has, and run', async () => {
  assert.instance(transaction, TransactionCoordinator);
  await transaction.context(async () => {
    const txn = await transaction.begin();
    assert.is(transaction.get(), txn);
    transaction.doom();
    assert.is(transaction.isDoomed(), true);
    assert.is((await transaction.savepoint()).valid, true);
    await transaction.abort();
    assert.is(await transaction.run(() => 'done'), 'done');
    assert.is(transaction.registeredSynchs(), false);
  });
});

test('zope 7: outside of any context, everything but begin throws NoTransaction', async () => {
  const coordinator = new TransactionCoordinator();
  for (const call of [() => coordinator.get(), () => coordinator.doom(), () => coordinator.isDoomed()]) {
    assert.instance(thrownBy(call), NoTransaction);
  }
  for (const call of [() => coordinator.commit(), () => coordinator.abort(), () => coordinator.savepoint()]) {
    await assert.rejects(call, NoTransaction);
  }
  assert.is(coordinator.current, undefined);
  assert.is(coordinator.registeredSynchs(), false);
});

test('zope 10: implicit mode outside of any context makes one for the calling chain', async () => {
  const coordinator = new TransactionCoordinator({ explicit: false });
  const txn = coordinator.get();
  await turns();
  assert.is(coordinator.get(), txn);
  await coordinator.commit();
  assert.is(txn.status, 'committed');
  await coordinator.commit();
  assert.is(coordinator.current, undefined);
});

test('begin outside of any context binds one to the calling chain: what follows and what it calls is in it', async () => {
  const coordinator = new TransactionCoordinator();
  const txn = await coordinator.begin();
  const inside = async (): Promise<Transaction> => {
    await turns();
    return coordinator.get();
  };
  assert.is(coordinator.get(), txn);
  assert.is(await inside(), txn);
  assert.equal(await Promise.all([inside(), inside()]).then((all) => all.map((each) => each === txn)), [true, true]);
  assert.is(await new Promise((resolve) => setTimeout(() => resolve(coordinator.get()), 1)), txn);
  await coordinator.commit();
  const next = await coordinator.begin();
  assert.is.not(next, txn);
  assert.is(await inside(), next);
  await coordinator.abort();
});

test('a coordinator answers synchronously too: the commit is over before it is awaited', async () => {
  const log: string[] = [];
  const coordinator = new TransactionCoordinator();
  const txn = await coordinator.begin();
  txn.join(recording(log, 'a'));
  const done = coordinator.commit();
  assert.is(txn.status, 'committed');
  assert.is(coordinator.current, undefined);
  await done;
});

test('after the end, the chain gets TransactionClosed, which is a NoTransaction, until it begins another', async () => {
  const coordinator = new TransactionCoordinator();
  const { id } = await coordinator.begin();
  await coordinator.commit();
  const error = thrownBy(() => coordinator.get());
  assert.instance(error, TransactionClosed);
  assert.instance(error, NoTransaction);
  assert.is(error.xid, id);
  for (const call of [() => coordinator.commit(), () => coordinator.abort(), () => coordinator.savepoint()]) {
    await assert.rejects(call, TransactionClosed);
  }
  await coordinator.begin();
  await coordinator.abort();
});

test('a sibling that begins where the context has a transaction gets AlreadyInTransaction', async () => {
  const coordinator = new TransactionCoordinator();
  const sibling = async (): Promise<string> => {
    await turns(2);
    try {
      const txn = await coordinator.begin();
      await turns(4);
      await txn.commit();
      return txn.status;
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  await coordinator.context(async () => {
    assert.equal((await Promise.all([sibling(), sibling()])).toSorted(), [
      'ERR_TXN_ALREADY_IN_TRANSACTION',
      'committed',
    ]);
  });
});

test('siblings that begin in the same turn outside of any context: the second one gets AlreadyInTransaction', async () => {
  const coordinator = new TransactionCoordinator();
  const begun = await Promise.allSettled([coordinator.begin(), coordinator.begin()]);
  assert.equal(
    begun.map(({ status }) => status),
    ['fulfilled', 'rejected'],
  );
  assert.instance((begun[1] as PromiseRejectedResult).reason, AlreadyInTransaction);
  await coordinator.abort();
});

test('siblings that begin later outside of any context have a context each', async () => {
  const coordinator = new TransactionCoordinator();
  const sibling = async (): Promise<Transaction> => {
    await turns();
    const txn = await coordinator.begin();
    await turns(3);
    assert.is(coordinator.get(), txn);
    await coordinator.commit();
    return txn;
  };
  const [first, second] = await Promise.all([sibling(), sibling()]);
  assert.is.not(first, second);
  assert.equal([first.status, second.status], ['committed', 'committed']);
});

test('siblings in run have a transaction each, and never see that of the other', async () => {
  const coordinator = new TransactionCoordinator();
  const task = (): Promise<string> =>
    coordinator.run(async (txn) => {
      for (let turn = 0; turn < 5; turn++) {
        await turns();
        assert.is(coordinator.get(), txn);
      }
      return txn.id;
    });
  const ids = await Promise.all([task(), task(), task()]);
  assert.is(new Set(ids).size, 3);
});

test('pitfall 11: 200 interleaved contexts never see or end the transaction of another', async () => {
  const coordinator = new TransactionCoordinator();
  let seed = 7;
  const random = (below: number): number => (seed = (seed * 48271) % 0x7fffffff) % below;
  const logs: string[][] = [];
  const request = async (index: number): Promise<string> => {
    const log = (logs[index] = [] as string[]);
    const pause = (): Promise<unknown> =>
      [turns(random(4)), Promise.resolve(), new Promise((r) => setTimeout(r, random(5)))][random(3)]!;
    const work = async (): Promise<void> => {
      const own = coordinator.get();
      own.setData('request', index);
      own.join(recording(log, 'a', { async: index % 2 === 0 }));
      for (let step = 0; step < 10; step++) {
        await pause();
        assert.is(coordinator.get(), own);
        assert.is(coordinator.get().data('request'), index);
      }
      if (index % 5 === 0) throw new Error(`request ${index}`);
    };
    if (index % 2 === 0) {
      await coordinator.run(work, { attempts: 1 });
    } else {
      await coordinator.context(async () => {
        await pause();
        await using txn = await coordinator.begin();
        await work();
        await pause();
        await txn.commit();
      });
    }
    return 'committed';
  };
  const ended = await Promise.allSettled(Array.from({ length: 200 }, (_, index) => request(index)));
  ended.forEach((end, index) => {
    if (index % 5 === 0) {
      assert.is(end.status === 'rejected' && end.reason.message, `request ${index}`);
      assert.equal(logs[index], ['a.abort']);
    } else {
      assert.is(end.status === 'fulfilled' ? end.value : end.reason, 'committed');
      assert.equal(logs[index], wholeCommit('a'));
    }
  });
  assert.is(coordinator.current, undefined);
  await coordinator.close();
});

test('pitfall 2: a background task that outlives its transaction gets TransactionClosed, however it was started', async () => {
  const coordinator = new TransactionCoordinator();
  const emitter = new EventEmitter();
  const starts: ((task: () => void) => void)[] = [
    (task) => void setTimeout(task, 1),
    (task) => void setImmediate(() => setImmediate(task)),
    (task) =>
      void Promise.resolve()
        .then(() => turns(2))
        .then(task),
    (task) => {
      emitter.once('event', task);
      setTimeout(() => emitter.emit('event'), 1);
    },
    (task) => queueMicrotask(() => setTimeout(task, 1)),
    (task) =>
      void (async () => {
        await turns(2);
        task();
      })(),
  ];
  for (const start of starts) {
    for (const way of ['run', 'begin'] as const) {
      const seen = gate<string>();
      const task = (): void => seen.open(seenBy(coordinator));
      if (way === 'run') {
        await coordinator.run(() => start(task));
      } else {
        await coordinator.context(async () => {
          await coordinator.begin();
          start(task);
          await coordinator.commit();
          await seen.promise;
        });
      }
      assert.is(await seen.promise, 'ERR_TXN_CLOSED', `${way} ${String(start)}`);
    }
  }
});

test('pitfall 8: what an emitter or a queue calls runs in the transaction of who calls it, never of who registered it', async () => {
  const coordinator = new TransactionCoordinator();
  const emitter = new EventEmitter();
  const seen: string[] = [];
  const first = await coordinator.run((txn) => {
    emitter.on('event', () => seen.push(seenBy(coordinator)));
    return txn.id;
  });
  const second = await coordinator.run((txn) => {
    emitter.emit('event');
    return txn.id;
  });
  emitter.emit('event');
  assert.equal(seen, [second, 'ERR_TXN_NO_TRANSACTION']);
  assert.is.not(first, second);
});

test('pitfall 8: what a stream, a socket, a worker and a queue call runs in the context that docs/contexts.md says', async () => {
  const coordinator = new TransactionCoordinator();
  /** What is seen where `listen` calls back, when `made` was made in one transaction and `act` is done in another. */
  const seenIn = async <T>(
    make: () => Awaitable<T>,
    use: (made: T, callback: () => void) => void,
  ): Promise<'the maker’s' | 'the user’s' | 'none'> => {
    const made = await coordinator.run(make);
    return coordinator.run(async (user) => {
      const seen = gate<string>();
      use(made, () => seen.open(seenBy(coordinator)));
      const id = await seen.promise;
      return id === user.id ? 'the user’s' : id === 'ERR_TXN_CLOSED' ? 'the maker’s' : 'none';
    });
  };

  const stream = await seenIn(
    () => new PassThrough(),
    (made, callback) => void made.once('data', callback).write('x'),
  );
  assert.is(stream, 'the user’s');

  const server = createServer((socket) => void socket.end('x')).listen(0);
  await once(server, 'listening');
  const socket = await seenIn(
    async () => {
      const made = connect((server.address() as AddressInfo).port);
      await once(made.pause(), 'connect');
      return made;
    },
    (made, callback) => void made.once('data', callback).resume(),
  );
  assert.is(socket, 'the maker’s');
  server.close();

  const echo =
    "const { parentPort: port } = require('node:worker_threads'); port.on('message', () => port.postMessage(0));";
  const worker = new Worker(echo, { eval: true });
  const message = await seenIn(
    () => worker,
    (made, callback) => made.once('message', callback).postMessage(0),
  );
  assert.is(message, 'none', 'it was made outside of any');
  await worker.terminate();

  /** Jobs that a loop works off, one after the other. */
  const makeQueue = (): ((job: () => void) => void) => {
    let next = gate<() => void>();
    void (async () => {
      for (;;) (await next.promise)();
    })();
    return (job) => {
      const { open } = next;
      next = gate();
      open(job);
    };
  };
  assert.is(await seenIn(makeQueue, (add, callback) => add(callback)), 'the maker’s');
  const early = makeQueue();
  assert.is(
    await seenIn(
      () => early,
      (add, callback) => add(callback),
    ),
    'none',
  );
});

test('pitfall 8: outside() runs as the start of the program did, whatever the context', async () => {
  const coordinator = new TransactionCoordinator();
  await coordinator.run(async (txn) => {
    assert.is(
      outside(() => coordinator.current),
      undefined,
    );
    assert.is(
      await outside(async () => {
        await turns();
        return seenBy(coordinator);
      }),
      'ERR_TXN_NO_TRANSACTION',
    );
    assert.is(coordinator.current, txn);
  });
});

test('sequential transactions in one chain: a background task of the first never sees the second', async () => {
  const coordinator = new TransactionCoordinator();
  await coordinator.context(async () => {
    const first = await coordinator.begin();
    const seen: string[] = [];
    let running = true;
    const background = (async () => {
      while (running) {
        seen.push(seenBy(coordinator));
        await turns();
      }
    })();
    await turns(3);
    await coordinator.commit();
    const others: string[] = [];
    for (let index = 0; index < 5; index++) {
      others.push((await coordinator.begin()).id);
      await turns(3);
      await coordinator.commit();
      await turns(2);
    }
    running = false;
    await background;
    assert.equal(new Set(seen), new Set([first.id, 'ERR_TXN_CLOSED']));
    for (const other of others) assert.is(seen.includes(other), false);
  });
});

test('run inside a background task whose transaction has ended begins its own', async () => {
  const coordinator = new TransactionCoordinator();
  const done = gate<string>();
  const parent = await coordinator.run((txn) => {
    setImmediate(() => setImmediate(() => coordinator.run((own) => done.open(own.id)).catch(done.fail)));
    return txn.id;
  });
  assert.is.not(await done.promise, parent);
});

test('context: returns what its function returns, at once or later, and throws what it throws', async () => {
  const coordinator = new TransactionCoordinator();
  assert.is(
    coordinator.context(() => 7),
    7,
  );
  assert.is(await coordinator.context(async () => 8), 8);
  const error = new Error('thrown');
  assert.is(
    thrownBy(() =>
      coordinator.context(() => {
        throw error;
      }),
    ),
    error,
  );
  assert.is(await assert.rejects(coordinator.context(() => Promise.reject(error))), error);
});

test('context: a transaction that was left open is aborted and reported, whether the function returned or threw', async () => {
  for (const [async, fails] of [
    [true, false],
    [true, true],
    [false, false],
    [false, true],
  ]) {
    const log: string[] = [];
    const told: Error[] = [];
    const inAbort = new Error('abort failed');
    const coordinator = new TransactionCoordinator({ onError: (error) => void told.push(error) });
    const left = (): unknown => {
      void coordinator.begin();
      coordinator.get().join(recording(log, 'a', { fails: { abort: inAbort } }));
      if (fails) throw new Error('thrown');
      return undefined;
    };
    try {
      await coordinator.context(async ? async () => left() : left);
      assert.is(fails, false);
    } catch (error) {
      assert.is((error as Error).message, 'thrown');
    }
    await turns();
    assert.equal(log, ['a.abort']);
    assert.instance(told[0], TransactionStateError);
    assert.match(told[0]!.message, 'left active, and is aborted');
    assert.is(told[1], inAbort);
    await coordinator.close();
  }
});

test('context: its manager calls who waits for its end once it has ended', async () => {
  const coordinator = new TransactionCoordinator();
  const log: string[] = [];
  await coordinator.context(async () => {
    const { manager } = coordinator;
    manager.onClose(() => log.push('closed'));
    const forget = manager.onClose(() => log.push('never'));
    forget();
    await coordinator.run(() => undefined);
    assert.equal(log, []);
  });
  assert.equal(log, ['closed']);
});

test('detached: a background function never sees the transaction of who calls or schedules it', async () => {
  const coordinator = new TransactionCoordinator();
  const seen: unknown[] = [];
  const background = coordinator.detached(async (name: string, count: number) => {
    seen.push(name, count, coordinator.current);
    await turns();
    return coordinator.run((own) => own.id);
  });
  await coordinator.run(async (txn) => {
    const id = await background('name', 2);
    assert.is.not(id, txn.id);
    assert.equal(seen, ['name', 2, undefined]);
    assert.is(coordinator.current, txn);
    const scheduled = gate<string>();
    setImmediate(coordinator.detached(() => scheduled.open(seenBy(coordinator))));
    assert.is(await scheduled.promise, 'ERR_TXN_NO_TRANSACTION');
  });
});

test('suspend: the current transaction waits untouched, and is current again afterwards', async () => {
  const log: string[] = [];
  const coordinator = new TransactionCoordinator();
  await coordinator.run(async (txn) => {
    txn.join(recording(log, 'a'));
    const result = await coordinator.suspend(async () => {
      assert.is(coordinator.current, undefined);
      const other = await coordinator.begin();
      assert.is.not(other, txn);
      await coordinator.commit();
      return 'result';
    });
    assert.is(result, 'result');
    assert.is(coordinator.current, txn);
    assert.equal(log, []);
    const error = new Error('thrown');
    assert.is(await assert.rejects(coordinator.suspend(() => Promise.reject(error))), error);
    assert.is(txn.status, 'active');
  });
  assert.equal(log, wholeCommit('a'));
});

test('several coordinators in one process know nothing of one another', async () => {
  const [first, second] = [new TransactionCoordinator({ app: 'first' }), new TransactionCoordinator({ app: 'second' })];
  await first.run(async (outer) => {
    assert.is(second.current, undefined);
    await second.run(async (inner) => {
      await turns();
      assert.is(first.get(), outer);
      assert.is(second.get(), inner);
      assert.match(outer.id, /^first:/);
      assert.match(inner.id, /^second:/);
    });
    assert.is(outer.status, 'active');
  });
});

test('close: begins nothing more, and resolves when every open transaction has ended', async () => {
  const coordinator = new TransactionCoordinator();
  await coordinator.close();
  const other = new TransactionCoordinator();
  const wait = gate();
  const running = other.run(async (txn) => {
    await wait.promise;
    return other.run(() => txn.id, { propagation: 'required' });
  });
  await turns();
  const closed: string[] = [];
  const closing = [other.close(), other.close()].map((each) => each.then(() => closed.push('closed')));
  for (const call of [
    () => other.begin(),
    () => other.run(() => undefined),
    () => other.context(() => other.begin()),
    () =>
      other
        .attempts(1)
        .next()
        .then(({ value }) => value?.(() => undefined)),
    () => other.manager.begin(),
  ]) {
    const error = await assert.rejects(call, TransactionClosed);
    assert.match(error.message, 'was closed with close()');
  }
  await turns(2);
  assert.equal(closed, []);
  wait.open();
  await running;
  await Promise.all(closing);
  assert.equal(closed, ['closed', 'closed']);
  await other.close();
});

test('close: implicit mode makes no transaction any more', async () => {
  const coordinator = new TransactionCoordinator({ explicit: false });
  await coordinator.context(async () => {
    await coordinator.close();
    assert.instance(
      thrownBy(() => coordinator.get()),
      TransactionClosed,
    );
    assert.instance(
      thrownBy(() => coordinator.manager.get()),
      TransactionClosed,
    );
  });
  assert.instance(
    thrownBy(() => coordinator.get()),
    TransactionClosed,
  );
  await assert.rejects(coordinator.commit(), TransactionClosed);
});

test('close: throws when transactions are still open after timeoutMs, and counts them', async () => {
  const coordinator = new TransactionCoordinator();
  const wait = gate();
  const running = [1, 2].map(() => coordinator.run(() => wait.promise));
  await turns();
  const error = await assert.rejects(coordinator.close({ timeoutMs: 1 }), TransactionStateError);
  assert.match(error.message, 'after 1 ms 2 are still open');
  wait.open();
  await Promise.all(running);
  await coordinator.close({ timeoutMs: 1 });
  for (const options of [{ timeoutMs: 0 }, { timeout: 1 }, null]) {
    await assert.rejects(coordinator.close(options as never), ConfigurationError);
  }
});

test('close: a transaction in doubt, one whose commit failed and was aborted, and one whose abort failed are no longer open', async () => {
  const coordinator = new TransactionCoordinator();
  const no = new Error('no');
  for (const fails of [{ tpcFinish: no }, { tpcVote: no }, { commit: no, abort: no }]) {
    await coordinator.run((txn) => txn.join(recording([], 'a', { fails }))).catch(() => undefined);
  }
  await coordinator.close({ timeoutMs: 1000 });
});

test('a transaction that an after-hook begins inside run and leaves open is aborted and reported', async () => {
  const told: Error[] = [];
  const coordinator = new TransactionCoordinator({ onError: (error) => void told.push(error) });
  let left: Transaction | undefined;
  await coordinator.run((txn) => {
    txn.addAfterCommitHook(async () => {
      left = await coordinator.begin();
    });
  });
  assert.is(left?.status, 'aborted');
  assert.is(told.length, 1);
  assert.equal(suppressedBy(told[0]), []);
  await coordinator.close({ timeoutMs: 1000 });
});

test('pitfall 11: what a sibling began in the same context() is its own, before and after', async () => {
  await transaction.context(async () => {
    const begun = (async () => {
      await Promise.resolve();
      const first = await transaction.begin();
      await new Promise((resolve) => setTimeout(resolve, 5));
      await first.commit();
      const second = await transaction.begin();
      await new Promise((resolve) => setTimeout(resolve, 5));
      await second.abort();
    })();
    const seen = (async () => {
      for (let look = 0; look < 6; look++) {
        await new Promise((resolve) => setTimeout(resolve, 2));
        assert.is(transaction.current, undefined);
        assert.throws(
          () => transaction.get(),
          (error: unknown) => error instanceof NoTransaction,
        );
      }
    })();
    await Promise.all([begun, seen]);
  });
});

test('a query that is only sent once it is awaited, as those of many libraries, belongs to where it was returned from', async () => {
  const coordinator = new TransactionCoordinator();
  const query = (): Promise<string | undefined> => {
    const lazy: PromiseLike<string | undefined> = {
      // eslint-disable-next-line unicorn/no-thenable
      then: (resolved, rejected) => Promise.resolve(coordinator.current?.description).then(resolved, rejected),
    };
    return lazy as Promise<string | undefined>;
  };
  await coordinator.run(
    async () => {
      assert.is(await coordinator.run(query), 'outer');
      assert.is(await coordinator.run(query, { propagation: 'requires-new', note: 'inner' }), 'inner');
      assert.is(await coordinator.run(query, { propagation: 'not-supported' }), undefined);
      assert.is(await coordinator.suspend(query), undefined);
      assert.is(await coordinator.detached(query)(), undefined);
      assert.is(await coordinator.context(query), undefined);
      // Outside of the nested run nothing may be enlisted while it is open.
      const enlisted = (): Promise<string> =>
        ({
          // eslint-disable-next-line unicorn/no-thenable
          then: (resolved: (description: string) => void) => resolved(coordinator.enlist().description),
        }) as unknown as Promise<string>;
      assert.is(await coordinator.run(enlisted, { propagation: 'nested' }), 'outer');
    },
    { note: 'outer' },
  );
});

test('what a session keeps between transactions has one home in a context, whatever runs inside of it, and none outside', async () => {
  const coordinator = new TransactionCoordinator();
  assert.is(coordinator.home, undefined);
  const homes = await coordinator.context(async () => {
    const { home } = coordinator;
    const seen: unknown[] = [];
    const look = (txn: Transaction | undefined): void => void seen.push(coordinator.home, txn?.manager.home);
    for (let time = 0; time < 2; time++) {
      await coordinator.run(async (txn) => {
        look(txn);
        await coordinator.run(look, { propagation: 'requires-new' });
      });
    }
    assert.ok(home !== undefined);
    assert.ok(seen.every((each) => each === home));
    return [home, coordinator.context(() => coordinator.home)];
  });
  assert.is(homes[0] === homes[1], false);
});
