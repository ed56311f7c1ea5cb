// Protects what functions in a transaction are promised: their order, that all finish functions are called, that abort functions
// are called once, and what a savepoint, a retry and a lost reply do to them.
import {
  CallableDataManager,
  CommitOutcomeUnknownError,
  ConfigurationError,
  InDoubtError,
  NoTransaction,
  TransactionClosed,
  TransactionCoordinator,
  TransactionError,
  TransactionManager,
  TransactionTimeoutError,
  onAbort,
  onFinish,
  onVote,
  transaction,
} from 'unanimous';
import { assert, suite } from '../../support/suite.ts';
import { gate, raise, recording, suppressedBy, thrownBy, turns } from '../../coordinator/recording.ts';

const test = suite('callables');

/** Registers a function of each kind, which writes `name.kind` into the log. */
function registerAll(log: string[], name: string): void {
  onVote(() => log.push(`${name}.vote`));
  onFinish(() => log.push(`${name}.finish`));
  onAbort(() => log.push(`${name}.abort`));
}

test('functions of a kind are called in the order given, each once the one before has answered', async () => {
  const log: string[] = [];
  await transaction.run(async () => {
    registerAll(log, 'a');
    onVote(() => turns(3).then(() => log.push('slow.vote')));
    onFinish(() => turns(3).then(() => log.push('slow.finish')));
    registerAll(log, 'b');
    assert.equal(log, [], 'nothing is called before the commit');
  });
  assert.equal(log, ['a.vote', 'slow.vote', 'b.vote', 'a.finish', 'slow.finish', 'b.finish']);
});

test('a function is given the transaction that it was registered in', async () => {
  const given: unknown[] = [];
  await transaction.run((txn) => {
    onVote((each) => given.push(each === txn));
    onFinish((each) => given.push(each === txn && each.status));
  });
  assert.equal(given, [true, 'committing']);
});

test('with functions that answer synchronously a commit costs no tick', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const txn = await manager.begin();
  onVote(() => log.push('vote'), { coordinator: manager });
  onFinish(() => log.push('finish'), { coordinator: manager });
  const committed = txn.commit();
  assert.equal(log, ['vote', 'finish']);
  assert.is(txn.status, 'committed');
  await committed;
});

test('a vote function says no by throwing, and its error is the one that is thrown, unchanged', async () => {
  for (const answer of [raise, async (thrown: unknown) => raise(thrown)]) {
    const log: string[] = [];
    const no = new Error('the till is closed');
    const rejected = transaction.run(() => {
      registerAll(log, 'a');
      onVote(() => answer(no));
      registerAll(log, 'b');
    });
    assert.is(await assert.rejects(rejected), no);
    assert.equal(log, ['a.vote', 'a.abort', 'b.abort']);
  }
});

test('a finish function that fails is named by InDoubtError; the others are called all the same', async () => {
  const log: string[] = [];
  const boom = new Error('boom');
  const error = await assert.rejects(
    transaction.run(() => {
      registerAll(log, 'a');
      onFinish(function sendReceipt() {
        throw boom;
      });
      onFinish(() => Promise.reject('a text'), { name: 'tell the partner' });
      registerAll(log, 'b');
    }),
    InDoubtError,
  );
  assert.equal(log, ['a.vote', 'b.vote', 'a.finish', 'b.finish']);
  assert.match(error.message, "'sendReceipt' (boom) and 'tell the partner' (");
  assert.equal(error.unfinished, ['~~callable']);
  const cause = error.cause as TransactionError;
  assert.instance(cause, TransactionError);
  assert.is(cause.cause, boom);
  assert.is(cause.resource, 'sendReceipt');
  assert.match((suppressedBy(cause)[0] as Error).message, "expected to be thrown, not 'a text'");
});

test('what fails to finish keeps nobody else from finishing, and nobody is told to abort', async () => {
  const log: string[] = [];
  await assert.rejects(
    transaction.run((txn) => {
      txn.join(recording(log, '~~~behind'));
      onFinish(() => raise(new Error('boom')));
      onAbort(() => log.push('abort'));
    }),
    InDoubtError,
  );
  assert.equal(log.at(-1), '~~~behind.tpcFinish');
  assert.not.ok(log.includes('abort'));
});

/** How a transaction may fail to commit, and what its caller sees. */
const failures: [string, (log: string[]) => Promise<unknown>][] = [
  ['it is aborted', (log) => transaction.context(() => endBy(log, () => transaction.abort()))],
  [
    'it is aborted twice',
    (log) =>
      transaction.context(() =>
        endBy(log, () =>
          transaction
            .get()
            .abort()
            .then(() => transaction.get().abort()),
        ),
      ),
  ],
  ['the function throws', (log) => transaction.run(() => (registerAll(log, 'a'), raise(new Error('no'))))],
  [
    'it is doomed',
    (log) =>
      transaction.run((txn) => {
        registerAll(log, 'a');
        txn.doom();
      }),
  ],
  ...(['tpcBegin', 'commit', 'tpcVote'] as const).flatMap((step) =>
    // Before and behind all callables.
    ['0', '~~~'].map((name): [string, (log: string[]) => Promise<unknown>] => [
      `${step} of a data manager with the key ${name} fails`,
      (log) =>
        transaction.run((txn) => {
          txn.join(recording([], name, { fails: { [step]: new Error('no') } }));
          registerAll(log, 'a');
        }),
    ]),
  ),
  [
    'a before-commit hook fails',
    (log) =>
      transaction.run((txn) => {
        registerAll(log, 'a');
        txn.addBeforeCommitHook(() => raise(new Error('no')));
      }),
  ],
  [
    'a savepoint fails',
    (log) =>
      transaction.run(async (txn) => {
        registerAll(log, 'a');
        txn.join(recording([], 'none'));
        await txn.savepoint();
      }),
  ],
];

async function endBy(log: string[], end: () => Promise<void>): Promise<void> {
  await transaction.begin();
  registerAll(log, 'a');
  await end();
}

for (const [when, fail] of failures) {
  test(`abort functions are called once, and finish functions never, where ${when}`, async () => {
    const log: string[] = [];
    await fail(log).catch(() => undefined);
    assert.equal(
      log.filter((each) => each !== 'a.vote'),
      ['a.abort'],
    );
  });
}

test('abort functions are called once where abort() follows a failed commit', async () => {
  const log: string[] = [];
  const manager = new TransactionManager();
  const txn = await manager.begin();
  onAbort(() => log.push('abort'), { coordinator: manager });
  txn.join(recording([], 'b', { fails: { tpcVote: new Error('no') } }));
  await assert.rejects(txn.commit());
  assert.equal(log, ['abort']);
  await txn.abort();
  assert.equal(log, ['abort']);
});

test('abort functions are not called where the transaction commits', async () => {
  const log: string[] = [];
  await transaction.run(() => onAbort(() => log.push('abort')));
  assert.equal(log, []);
});

test('all abort functions are called, in the order given; the first error is thrown, and hangs on what failed before', async () => {
  const log: string[] = [];
  const [first, second, no] = [new Error('first'), new Error('second'), new Error('no')];
  const register = (): void => {
    onAbort(() => turns(2).then(() => raise(first)));
    onAbort(() => raise(second));
    onAbort(() => log.push('third'));
  };
  const aborted = transaction.context(async () => {
    await transaction.begin();
    register();
    await transaction.abort();
  });
  assert.is(await assert.rejects(aborted), first);
  assert.equal(suppressedBy(first), [second]);
  assert.equal(log, ['third']);

  const failed = transaction.run(() => (register(), raise(no)));
  assert.is(await assert.rejects(failed), no);
  assert.equal(suppressedBy(no), [first]);
});

test('what was registered after a savepoint is dropped when that is rolled back, what was registered before it is kept', async () => {
  const log: string[] = [];
  await transaction.run(async (txn) => {
    registerAll(log, 'before');
    const savepoint = await txn.savepoint();
    registerAll(log, 'dropped');
    await savepoint.rollback();
    registerAll(log, 'again');
    await savepoint.rollback();
    registerAll(log, 'after');
  });
  assert.equal(log, ['before.vote', 'after.vote', 'before.finish', 'after.finish']);
});

test('the same where the first function comes after the savepoint: no abort function is called while the transaction goes on', async () => {
  const log: string[] = [];
  await transaction.run(async (txn) => {
    const savepoint = await txn.savepoint();
    registerAll(log, 'dropped');
    await savepoint.rollback();
    registerAll(log, 'after');
  });
  assert.equal(log, ['after.vote', 'after.finish']);

  log.length = 0;
  await assert.rejects(
    transaction.run(async (txn) => {
      const savepoint = await txn.savepoint();
      registerAll(log, 'dropped');
      await savepoint.rollback();
      registerAll(log, 'after');
      throw new Error('no');
    }),
  );
  assert.equal(log, ['after.abort']);
});

test('each attempt has functions of its own', async () => {
  const log: string[] = [];
  class Busy extends Error {}
  await transaction.run(
    (txn) => {
      registerAll(log, String(txn.attempt));
      onVote(() => (txn.attempt < 3 ? raise(new Busy('busy')) : undefined), {
        shouldRetry: (error) => error instanceof Busy,
      });
    },
    { backoff: false },
  );
  assert.equal(log, ['1.vote', '1.abort', '2.vote', '2.abort', '3.vote', '3.finish']);
});

test('without shouldRetry a no is final', async () => {
  let attempts = 0;
  await assert.rejects(
    transaction.run(() => {
      attempts++;
      onVote(() => raise(new Error('no')), { shouldRetry: () => false });
    }),
  );
  assert.is(attempts, 1);
});

test('vote functions come before, and finish functions behind, what has the key of a session', async () => {
  const log: string[] = [];
  await transaction.run((txn) => {
    txn.join(recording(log, '~sql:bank', { changed: true }));
    txn.join(recording(log, '~sql:audit', { changed: true }));
    registerAll(log, 'a');
  });
  assert.equal(
    log.filter((each) => !/tpcBegin|commit/.test(each)),
    ['a.vote', '~sql:audit.tpcVote', '~sql:bank.tpcVote', '~sql:audit.tpcFinish', '~sql:bank.tpcFinish', 'a.finish'],
  );
});

test('one database beside it commits in one phase: after the vote functions, and before the finish functions', async () => {
  const log: string[] = [];
  const way = await transaction.run((txn) => {
    registerAll(log, 'a');
    txn.join(
      recording(log, '~sql:bank', { changed: true, onePhase: true, does: { tpcVote: () => log.push(txn.way!) } }),
    );
    return () => txn.outcome?.way;
  });
  assert.is(way(), 'one-phase');
  // Its vote was its commit; told to finish, it has nothing left to do.
  assert.equal(
    log.filter((each) => !/tpcBegin|commit|tpcFinish/.test(each)),
    ['a.vote', '~sql:bank.tpcVote', 'one-phase', 'a.finish'],
  );
});

test('where only vote functions were registered nothing is left to finish', async () => {
  const outcome = await transaction
    .run((txn) => {
      onVote(() => undefined);
      txn.join(recording([], 'b', { fails: { tpcFinish: new Error('boom') } }));
      txn.addAfterCommitHook(() => undefined);
    })
    .catch((error: InDoubtError) => error);
  assert.equal((outcome as InDoubtError).finished, []);
});

test('where it can not be known whether the last resource committed, neither finish nor abort functions are called', async () => {
  const log: string[] = [];
  const lost = new CommitOutcomeUnknownError('reply lost', { resource: 'bank' });
  const error = await assert.rejects(
    transaction.run((txn) => {
      registerAll(log, 'a');
      txn.join(recording([], 'bank', { lastResource: true, changed: true, fails: { tpcVote: lost } }));
    }),
    InDoubtError,
  );
  assert.equal(log, ['a.vote']);
  assert.equal(error.unfinished, ['~~callable']);
  assert.is(error.cause, lost);
});

test('a vote function that hangs is given up when the deadline passes', async () => {
  const never = gate();
  const log: string[] = [];
  await assert.rejects(
    transaction.run(
      () => {
        onVote(() => never.promise);
        onFinish(() => log.push('finish'));
        onAbort(() => log.push('abort'));
      },
      { timeoutMs: 50 },
    ),
    TransactionTimeoutError,
  );
  assert.equal(log, ['abort']);
  never.fail(new Error('too late, and nobody’s'));
});

test('functions that hang are given up after their timeoutMs, and are named', async () => {
  const never = (): Promise<void> => gate().promise;
  const log: string[] = [];
  const vote = await assert.rejects(
    transaction.run(() => {
      onVote(never, { timeoutMs: 20, name: 'ask the till' });
      onAbort(never, { timeoutMs: 20, name: 'undo' });
      onAbort(() => log.push('abort'));
    }),
    TransactionError,
  );
  assert.match(
    vote.message,
    "the vote function 'ask the till' must be through within its timeoutMs; it was not after 20 ms",
  );
  assert.match((suppressedBy(vote)[0] as Error).message, "the abort function 'undo'");
  const finish = await assert.rejects(
    transaction.run(() => {
      onFinish(never, { timeoutMs: 20, name: 'publish' });
      onFinish(() => log.push('finish'));
    }),
    InDoubtError,
  );
  assert.match(finish.message, "the finish function 'publish'");
  assert.equal(log, ['abort', 'finish']);
});

test('a deadline that passes once it is decided gives up no finish function', async () => {
  const log: string[] = [];
  await transaction.run(
    () => {
      onFinish(() => new Promise<void>((resolve) => setTimeout(resolve, 120)).then(() => log.push('finish')));
    },
    { timeoutMs: 60 },
  );
  assert.equal(log, ['finish']);
});

test('nothing is registered once the end has begun, nor without a transaction', async () => {
  for (const register of [onVote, onFinish, onAbort]) {
    assert.instance(
      thrownBy(() => register(() => undefined)),
      NoTransaction,
    );
    let late: unknown;
    const txn = await transaction.run((current) => {
      register(() => undefined);
      onVote(() => (late = thrownBy(() => register(() => undefined))), { sortKey: '~~callable' });
      return current;
    });
    assert.is(txn.status, 'committed');
    assert.instance(late, TransactionError);
  }
  const manager = new CallableDataManager();
  manager.tpcBegin();
  assert.instance(
    thrownBy(() => manager.onFinish(() => undefined)),
    TransactionClosed,
  );
});

test('a before-commit hook may still register', async () => {
  const log: string[] = [];
  await transaction.run((txn) => txn.addBeforeCommitHook(() => registerAll(log, 'hook')));
  assert.equal(log, ['hook.vote', 'hook.finish']);
});

test('another coordinator’s transaction is meant where it is named', async () => {
  const log: string[] = [];
  const own = new TransactionCoordinator();
  await transaction.run(async () => {
    await own.run(() => {
      onFinish(() => log.push('own'), { coordinator: own });
      onFinish(() => log.push('default'));
    });
    assert.equal(log, ['own']);
  });
  assert.equal(log, ['own', 'default']);
});

test('a sort key puts functions elsewhere', async () => {
  const log: string[] = [];
  await transaction.run((txn) => {
    txn.join(recording(log, 'm'));
    onFinish(() => log.push('behind'), { sortKey: 'n' });
    onFinish(() => log.push('before'), { sortKey: 'l' });
  });
  assert.equal(log.slice(-3), ['before', 'm.tpcFinish', 'behind']);
});

test('a finish or abort function may run a transaction of its own', async () => {
  const log: string[] = [];
  const own = (name: string) => (): Promise<unknown> =>
    transaction.run(() => onFinish(() => log.push(name)), { propagation: 'requires-new' });
  await transaction.run(() => onFinish(own('in finish')));
  await assert.rejects(
    transaction.run(() => {
      onAbort(own('in abort'));
      throw new Error('no');
    }),
  );
  assert.equal(log, ['in finish', 'in abort']);
});

test('a data manager is made with functions, and joined by hand', async () => {
  const log: string[] = [];
  const make = (name: string): CallableDataManager =>
    new CallableDataManager(
      {
        vote: () => log.push(`${name}.vote`),
        finish: () => log.push(`${name}.finish`),
        abort: () => log.push(`${name}.abort`),
      },
      { sortKey: name },
    );
  await transaction.run((txn) => {
    txn.join(make('b'));
    txn.join(make('a'));
  });
  assert.equal(log, ['a.vote', 'b.vote', 'a.finish', 'b.finish']);
  log.length = 0;
  await assert.rejects(
    transaction.run((txn) => {
      txn.join(make('b'));
      txn.join(make('a'));
      throw new Error('no');
    }),
  );
  assert.equal(log, ['b.abort', 'a.abort']);
  assert.is(new CallableDataManager().sortKey, '~~callable');
});

test('what is no function and what is no option is refused', async () => {
  await transaction.run(() => {
    for (const wrong of [
      () => onVote('a text' as never),
      () => onFinish(undefined as never),
      () => onAbort(() => undefined, { attempts: 3 } as never),
      () => onVote(() => undefined, { timeoutMs: 0 }),
      () => onVote(() => undefined, { coordinator: {} as never }),
      () => onVote(() => undefined, { sortKey: 1 as never }),
      () => new CallableDataManager({ finnish: () => undefined } as never),
      () => new CallableDataManager({ vote: 'a text' as never }),
      () => new CallableDataManager({}, { coordinator: transaction } as never),
    ]) {
      assert.instance(thrownBy(wrong), ConfigurationError);
    }
  });
});
