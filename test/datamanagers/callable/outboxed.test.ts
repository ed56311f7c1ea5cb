// Protects functions that must be called after a commit: at least once and in order, by whichever process has them, with the same key each
// time; never for what was rolled back; and that what can't be stored is refused while the transaction can still fail.
import {
  ConfigurationError,
  InDoubtError,
  MemoryDecisionLog,
  MemoryDecisionStore,
  MemoryStore,
  NoTransaction,
  type OutboxedDelivery,
  TransactionClosed,
  TransactionCoordinator,
  TransactionError,
  outboxed,
} from 'unanimous';
import { assert, suite } from '../../support/suite.ts';

const test = suite('outboxed functions');

type Called = { payload: unknown } & Pick<OutboxedDelivery, 'key' | 'attempt'>;

/** A process: with a decision log of this store, or without. */
function process(store?: MemoryDecisionStore, deliveryAttempts = 20) {
  const reported: string[] = [];
  const coordinator = new TransactionCoordinator({
    app: 'shop',
    onError: (error) => void reported.push(error.message),
    ...(store === undefined
      ? {}
      : { decisionLog: new MemoryDecisionLog(store), recovery: { everyMs: 2_000_000_000, deliveryAttempts } }),
  });
  const a = new MemoryStore({ name: 'a', role: 'recoverable', coordinator });
  return { coordinator, a, reported };
}

/** A function that writes down how it is called, and fails as long as it is told to. */
function recorded(coordinator: TransactionCoordinator, name: string, options = {}) {
  const called: Called[] = [];
  const state = { fails: undefined as Error | undefined };
  const call = outboxed(
    name,
    async (payload: unknown, { key, attempt }) => {
      if (state.fails !== undefined) throw state.fails;
      called.push({ payload, key, attempt });
    },
    { coordinator, ...options },
  );
  return { call, called, state };
}

const due = (store: MemoryDecisionStore): void => {
  for (const waiting of store.messages) waiting.dueMs = 0;
};

test('it is called with what was given, in order, before commit() returns, and what is changed afterwards changes nothing', async () => {
  const store = new MemoryDecisionStore();
  const { coordinator, a } = process(store);
  const { call, called } = recorded(coordinator, 'publish');
  const payload = { id: 1, items: [{ text: 'ü "\\' }], none: null, absent: undefined };
  const keys: string[] = [];
  const txn = await coordinator.run((current) => {
    keys.push(call(payload), call('second'));
    payload.id = 2;
    a.set('key', 'x');
    return current;
  });
  assert.equal(keys, [`${txn.id}:1`, `${txn.id}:2`]);
  assert.equal(called, [
    { payload: { id: 1, items: [{ text: 'ü "\\' }], none: null }, key: keys[0], attempt: 1 },
    { payload: 'second', key: keys[1], attempt: 1 },
  ]);
  assert.equal(store.messages, []);
  assert.is(call.name, 'publish');
});

test('what fails is called again by recovery under the same key, and the commit is one; those behind it wait', async () => {
  const store = new MemoryDecisionStore();
  const { coordinator, a, reported } = process(store);
  const { call, called, state } = recorded(coordinator, 'publish');
  state.fails = new Error('no broker');
  let key: string | undefined;
  const txn = await coordinator.run((current) => {
    key = call('first');
    call('second');
    a.set('key', 'x');
    return current;
  });
  assert.equal([txn.status, a.committed.get('key'), called], ['committed', 'x', []]);
  assert.match(reported[0]!, `to 'function:publish' was not (no broker), and is tried again`);
  state.fails = undefined;
  due(store);
  await coordinator.recover();
  assert.equal(
    called.map(({ payload, attempt }) => [payload, attempt]),
    [
      ['first', 2],
      ['second', 1],
    ],
  );
  assert.is(called[0]!.key, key);
});

test('a process without the function leaves it to one that has it, and that is no failure', async () => {
  const store = new MemoryDecisionStore();
  const one = process(store);
  const { call, state } = recorded(one.coordinator, 'publish');
  state.fails = new Error('killed');
  await one.coordinator.run(() => {
    call({ id: 1 });
    one.a.set('key', 'x');
  });
  const without = process(store);
  recorded(without.coordinator, 'other');
  due(store);
  const report = await without.coordinator.recover();
  assert.equal([report.delivered, without.reported, store.messages[0]!.message.attempts], [0, [], 1]);
  const other = process(store);
  const { called } = recorded(other.coordinator, 'publish');
  await other.coordinator.recover();
  assert.equal(
    called.map(({ payload, attempt }) => [payload, attempt]),
    [[{ id: 1 }, 2]],
  );
});

test('what fails too often is dead, and keeps those behind it no longer', async () => {
  const store = new MemoryDecisionStore();
  const { coordinator, a, reported } = process(store, 2);
  const { call, called, state } = recorded(coordinator, 'publish');
  state.fails = new Error('no');
  await coordinator.run(() => {
    call('first');
    call('second');
    a.set('key', 'x');
  });
  due(store);
  await coordinator.recover();
  assert.match(reported.at(-1)!, 'needs an operator');
  state.fails = undefined;
  due(store);
  await coordinator.recover();
  assert.equal(
    called.map(({ payload }) => payload),
    ['second'],
  );
});

test('a function whose order doesn’t matter: one call that fails keeps no others', async () => {
  const store = new MemoryDecisionStore();
  const { coordinator, a } = process(store);
  const called: unknown[] = [];
  const call = outboxed(
    'any',
    (payload: number) => {
      if (payload === 1) throw new Error('no');
      called.push(payload);
    },
    { coordinator, anyOrder: true },
  );
  await coordinator.run(() => {
    for (const payload of [1, 2, 3]) call(payload);
    a.set('key', 'x');
  });
  assert.equal(called, [2, 3]);
});

test('nothing is called of what is rolled back: a transaction, and what came behind a savepoint', async () => {
  const store = new MemoryDecisionStore();
  const { coordinator, a } = process(store);
  const { call, called } = recorded(coordinator, 'publish');
  await assert.rejects(
    coordinator.run(() => {
      call('rolled back');
      a.set('key', 'x');
      throw new Error('no');
    }),
  );
  await coordinator.run(async () => {
    a.set('key', 'x');
    const first = await coordinator.savepoint();
    call('behind the first');
    await first.rollback();
    call('kept');
    const second = await coordinator.savepoint();
    call('behind the second');
    await second.rollback();
  });
  assert.equal(
    called.map(({ payload }) => payload),
    ['kept'],
  );
  assert.is(store.messages.length, 0);
});

test('without a decision log, or without a database, it is called behind the commit, and a failure is told to the caller', async () => {
  for (const { coordinator, a } of [process(), process(new MemoryDecisionStore())]) {
    const { call, called, state } = recorded(coordinator, 'publish');
    await coordinator.run(() => void call('alone'));
    assert.is(called.length, 1);
    state.fails = new Error('no broker');
    const error = await assert.rejects(
      coordinator.run(() => void call('lost')),
      InDoubtError,
    );
    assert.match((error.cause as Error).message, "'function:publish' (no broker) did");
    assert.is(a.committed.size, 0);
  }
  const { coordinator, a } = process();
  const { call, called } = recorded(coordinator, 'publish');
  await coordinator.run(() => {
    call('beside a database');
    a.set('key', 'x');
  });
  assert.is(called.length, 1);
});

test('where the decision store could not be reached when the transaction began, nothing is committed that would lose a call', async () => {
  const store = new MemoryDecisionStore();
  const { coordinator, a } = process(store);
  const { call, called } = recorded(coordinator, 'publish');
  const log = new MemoryDecisionLog(store);
  log.open = () => Promise.reject(new Error('away'));
  const other = new TransactionCoordinator({
    app: 'shop',
    decisionLog: log,
    onError: () => undefined,
    recovery: false,
  });
  const b = new MemoryStore({ name: 'b', role: 'recoverable', coordinator: other });
  const lost = recorded(other, 'publish');
  const work = (): void => {
    lost.call('never');
    b.set('key', 'x');
  };
  const error = await assert.rejects(other.run(work, { attempts: 1 }), TransactionError);
  assert.match(error.message, 'needs the decision store, which could not be reached');
  assert.equal([lost.called, b.committed.size], [[], 0]);
  await coordinator.run(() => {
    call('stored');
    a.set('key', 'x');
  });
  assert.is(called.length, 1);
});

test('the handler runs outside of the transaction, and may begin one of its own', async () => {
  const { coordinator, a } = process(new MemoryDecisionStore());
  const seen: unknown[] = [];
  const call = outboxed(
    'own',
    async () => {
      seen.push(coordinator.current);
      await coordinator.run(() => a.set('other', 'y'));
    },
    { coordinator },
  );
  await coordinator.run(() => {
    call(1);
    a.set('key', 'x');
  });
  assert.equal([seen, a.committed.get('other')], [[undefined], 'y']);
});

test('a handler that takes too long has failed, and is told by its signal', async () => {
  const store = new MemoryDecisionStore();
  const { coordinator, a, reported } = process(store);
  let signal: AbortSignal | undefined;
  const call = outboxed(
    'slow',
    (_payload: string, delivery) => {
      signal = delivery.signal;
      return new Promise(() => undefined);
    },
    { coordinator, timeoutMs: 10 },
  );
  await coordinator.run(() => {
    call('x');
    a.set('key', 'x');
  });
  assert.is(signal!.aborted, true);
  assert.match(reported[0]!, 'within its timeoutMs');
  assert.is(store.messages.length, 1);
});

test('a payload that would not come back as it was is refused at once, with the part that is none', async () => {
  const { coordinator } = process();
  const { call, called } = recorded(coordinator, 'publish');
  const loop: Record<string, unknown> = {};
  loop['self'] = { loop };
  class Money {
    readonly amount = 1;
  }
  const wrong: [unknown, string][] = [
    [undefined, 'the payload is undefined'],
    [{ at: new Date(0) }, 'the payload.at is an instance of Date'],
    [{ items: [1, { price: 1n }] }, 'the payload.items[1].price is 1n'],
    [[Number.NaN], 'the payload[0] is NaN'],
    [{ size: Infinity }, 'the payload.size is Infinity'],
    [new Money(), 'the payload is an instance of Money'],
    [{ all: new Map() }, 'the payload.all is an instance of Map'],
    [{ next: () => 1 }, 'the payload.next is the function next'],
    [[1, undefined], 'the payload[1] is undefined'],
    // eslint-disable-next-line no-sparse-arrays
    [[1, , 2], 'the payload[1] is undefined'],
    [loop, 'the payload.self.loop is a part of itself'],
    [{ toJSON: undefined, id: Symbol('x') }, 'the payload.id is Symbol(x)'],
    [Buffer.from('x'), 'the payload is an instance of Buffer'],
  ];
  await coordinator.run(async () => {
    for (const [payload, seen] of wrong) {
      assert.throws(
        () => call(payload),
        (error: unknown) => error instanceof ConfigurationError && error.message.includes(seen),
        seen,
      );
    }
    const twice = { same: 1 };
    call([twice, twice, Object.assign(Object.create(null), { plain: true })]);
  });
  assert.equal(
    called.map(({ payload }) => payload),
    [[{ same: 1 }, { same: 1 }, { plain: true }]],
  );
});

test('outside of a transaction, and once its end has begun, nothing can be called', async () => {
  const { coordinator, a } = process(new MemoryDecisionStore());
  const { call, called } = recorded(coordinator, 'publish');
  assert.throws(
    () => call(1),
    (error: unknown) => error instanceof NoTransaction,
  );
  let late: unknown;
  await coordinator.run((txn) => {
    call('in time');
    a.set('key', 'x');
    const nothing = (): void => undefined;
    const tpcVote = (): void => {
      try {
        call('late');
      } catch (error) {
        late = error;
      }
    };
    txn.join({
      sortKey: 'z',
      tpcBegin: nothing,
      commit: nothing,
      tpcVote,
      tpcFinish: nothing,
      tpcAbort: nothing,
      abort: nothing,
    });
  });
  assert.ok(late instanceof TransactionClosed, String(late));
  assert.is(called.length, 1);
});

test('a name that is none or is taken, a handler that is no function and unknown options are refused by name', () => {
  const { coordinator } = process();
  recorded(coordinator, 'taken');
  const wrong: [() => unknown, string][] = [
    [() => recorded(coordinator, 'taken'), "'taken' is registered already"],
    [() => outboxed('a b', () => 1), "not 'a b'"],
    [() => outboxed('x'.repeat(51), () => 1), '1 to 50'],
    [() => outboxed(undefined as never, () => 1), 'not undefined'],
    [() => outboxed('f', 'g' as never), "not 'g'"],
    [() => outboxed('f', () => 1, { order: false } as never), "'order'"],
    [() => outboxed('f', () => 1, { timeoutMs: 0 }), "'timeoutMs'"],
  ];
  for (const [call, seen] of wrong) {
    assert.throws(call, (error: unknown) => error instanceof ConfigurationError && error.message.includes(seen), seen);
  }
  recorded(process().coordinator, 'taken');
});
