// Protects what users match errors by: names, codes, classes and causes; and how values are shown in messages.
import * as api from 'unanimous';
import { describe, isTransient, list, mayHaveCommitted, suppress, toError } from '../../coordinator/errors.ts';
import { XidSource } from '../../coordinator/xid.ts';
import { runInNewContext } from 'node:vm';
import { assert, suite } from '../support/suite.ts';
import { suppressedBy, thrownBy } from './recording.ts';

const test = suite('errors');

const CODES: Record<string, string> = {
  TransactionError: 'ERR_TXN',
  TransactionFailedError: 'ERR_TXN_FAILED',
  DoomedTransaction: 'ERR_TXN_DOOMED',
  TransactionTimeoutError: 'ERR_TXN_TIMEOUT',
  TransientError: 'ERR_TXN_TRANSIENT',
  NoTransaction: 'ERR_TXN_NO_TRANSACTION',
  TransactionClosed: 'ERR_TXN_CLOSED',
  AlreadyInTransaction: 'ERR_TXN_ALREADY_IN_TRANSACTION',
  TransactionStateError: 'ERR_TXN_STATE',
  InvalidSavepointRollbackError: 'ERR_TXN_INVALID_SAVEPOINT_ROLLBACK',
  SavepointsUnsupportedError: 'ERR_TXN_SAVEPOINTS_UNSUPPORTED',
  ConcurrentUseError: 'ERR_TXN_CONCURRENT_USE',
  OptimisticLockError: 'ERR_TXN_OPTIMISTIC_LOCK',
  AcquireTimeoutError: 'ERR_TXN_ACQUIRE_TIMEOUT',
  ConnectionLostError: 'ERR_TXN_CONNECTION_LOST',
  SilentRollbackError: 'ERR_TXN_SILENT_ROLLBACK',
  CommitOutcomeUnknownError: 'ERR_TXN_OUTCOME_UNKNOWN',
  InDoubtError: 'ERR_TXN_IN_DOUBT',
  HeuristicError: 'ERR_TXN_HEURISTIC',
  TooManyLastResourcesError: 'ERR_TXN_TOO_MANY_LAST_RESOURCES',
  ConfigurationError: 'ERR_TXN_CONFIGURATION',
  DecisionFailedError: 'ERR_TXN_DECISION_FAILED',
  FencedError: 'ERR_TXN_FENCED',
  RecoveryWarning: 'ERR_TXN_RECOVERY_WARNING',
};

const PARENTS: Record<string, string> = {
  TransactionTimeoutError: 'DoomedTransaction',
  TransactionClosed: 'NoTransaction',
  FencedError: 'DecisionFailedError',
  OptimisticLockError: 'TransientError',
};

type AnyError = new (message: string, details: object) => api.TransactionError;
const classes = Object.entries(api).filter(
  ([, value]) => typeof value === 'function' && (value === api.TransactionError || value.prototype instanceof Error),
) as unknown as [string, AnyError][];

test('every error class that is exported has its code, and every code its class', () => {
  assert.equal(classes.map(([name]) => name).toSorted(), Object.keys(CODES).toSorted());
});

for (const [name, code] of Object.entries(CODES)) {
  test(`${name}: its name, its code ${code}, its parent and its details`, () => {
    const Class = classes.find(([each]) => each === name)![1];
    const cause = new Error('cause');
    const error = new Class('a message', {
      cause,
      resource: 'bank',
      xid: 'x:1',
      phase: 'tpcVote',
      finished: ['a'],
      unfinished: ['b'],
    });
    assert.is(error.name, name);
    assert.is(error.code, code);
    assert.is(error.message, 'a message');
    assert.is(error.cause, cause);
    assert.equal([error.resource, error.xid, error.phase], ['bank', 'x:1', 'tpcVote']);
    assert.instance(error, api.TransactionError);
    assert.instance(error, Error);
    assert.match(error.stack!, `${name}: a message`);
    const parent = PARENTS[name] ?? 'TransactionError';
    if (name !== 'TransactionError') assert.is(Object.getPrototypeOf(Class).name, parent);
    assert.is(isTransient(error), ['TransientError', 'FencedError', 'OptimisticLockError'].includes(name));
    const unsettled = ['CommitOutcomeUnknownError', 'InDoubtError', 'HeuristicError'];
    assert.is(mayHaveCommitted(error), unsettled.includes(name));
  });
}

test('an error has the details only that it was given', () => {
  const error = new api.NoTransaction('none');
  assert.equal(Object.keys(error), []);
  assert.is('cause' in error, false);
  assert.is('resource' in error, false);
  assert.is('suppressed' in error, false);
  assert.is('cause' in new api.NoTransaction('none', { cause: undefined }), true);
});

test('a subclass by a user has its own name and the code of its parent', () => {
  class Conflict extends api.TransientError {}
  const error = new Conflict('again');
  assert.is(error.name, 'Conflict');
  assert.is(error.code, 'ERR_TXN_TRANSIENT');
  assert.is(isTransient(error), true);
});

test('transient is who says so, of whichever copy of the package', () => {
  assert.is(isTransient({ isTransient: true }), true);
  for (const value of [undefined, null, 'isTransient', 1, {}, { isTransient: 'true' }])
    assert.is(isTransient(value), false);
});

test('toError returns errors as they are, those of another realm too, and makes all else the cause of one', () => {
  const error = new TypeError('as it is');
  assert.is(toError(error), error);
  const foreign: unknown = runInNewContext('new Error("of another realm")');
  assert.is(foreign instanceof Error, false);
  assert.is(toError(foreign), foreign);
  for (const [thrown, shown] of [
    ['text', "not 'text'"],
    [undefined, 'not undefined'],
    [null, 'not null'],
    [{ code: 7 }, 'not an object with the keys code'],
  ] as const) {
    const made = toError(thrown);
    assert.instance(made, api.TransactionError);
    assert.is(made.cause, thrown);
    assert.match(made.message, shown);
  }
});

test('suppress hangs failures on an error, in order, each once, never itself, and unseen by those who list its keys', () => {
  const error = new Error('original');
  const [first, second] = [new Error('first'), new Error('second')];
  assert.is(suppress(error, first), error);
  suppress(error, second);
  suppress(error, first);
  suppress(error, error);
  assert.equal(suppressedBy(error), [first, second]);
  assert.equal(Object.keys(error), []);
  assert.is(suppress('a text', first), 'a text');
  assert.is(suppress(null, first), null);
  const frozen = Object.freeze(new Error('frozen'));
  assert.is(suppress(frozen, first), frozen);
});

test('describe shows a value in one line of at most 80 characters', () => {
  class Sample {
    readonly value = 1;
  }
  const named = function named(): void {};
  for (const [value, text] of [
    ['text', "'text'"],
    [7, '7'],
    [undefined, 'undefined'],
    [null, 'null'],
    [true, 'true'],
    [[1, 2], '[ 1, 2 ]'],
    [{}, 'an object with the keys none'],
    [{ a: 1, b: 2 }, 'an object with the keys a and b'],
    [new Sample(), 'an instance of Sample'],
    [named, 'the function named'],
    [() => undefined, 'a function'],
    [Object.create(null), '[Object: null prototype] {}'],
  ] as const) {
    assert.is(describe(value), text);
  }
  for (const long of [
    'x'.repeat(1000),
    'line\n'.repeat(50),
    Object.fromEntries(Array.from({ length: 99 }, (_, i) => [`key${i}`, i])),
  ]) {
    const text = describe(long);
    assert.ok(text.length <= 80, text);
    assert.is(text.includes('\n'), false);
  }
});

test('list joins names as a sentence does', () => {
  assert.equal(
    [list([]), list(['a']), list(['a', 'b']), list(['a', 'b', 'c'])],
    ['none', 'a', 'a and b', 'a, b and c'],
  );
});

test('the parts of a transaction id are checked', () => {
  for (const app of ['', 'a:b', 'x'.repeat(13), 'ä', 7, null]) {
    const error = thrownBy(() => new XidSource(app as never));
    assert.instance(error, api.ConfigurationError);
    assert.match(error.message, 'the app part of a transaction id must be 1 to 12');
  }
  assert.instance(
    thrownBy(() => new XidSource('app', 'a b')),
    api.ConfigurationError,
  );
  const source = new XidSource('app.1_x-', 'store');
  assert.match(source.next(), /^app\.1_x-:store:[0-9a-f]{20}:1$/);
  assert.match(source.next(), /:2$/);
  assert.is.not(new XidSource().incarnation, new XidSource().incarnation);
});

test('wrong options of begin and run are refused by name, with what was required and what came', async () => {
  const manager = new api.TransactionManager();
  const coordinator = new api.TransactionCoordinator();
  const wrong: [object, string][] = [
    [{ isolaton: 'serializable' }, "has no option 'isolaton'; it has isolation, readOnly"],
    [{ constructor: 1 }, "has no option 'constructor'"],
    [
      { isolation: 'SERIALIZABLE' },
      "'isolation' must be one of 'read uncommitted', 'read committed', 'repeatable read' and 'serializable', not 'SERIALIZABLE'",
    ],
    [{ isolation: null }, "'isolation' must be one of"],
    [{ readOnly: 1 }, "'readOnly' must be true or false, not 1"],
    [{ deferrable: 'yes' }, "'deferrable' must be true or false, not 'yes'"],
    [{ note: 7 }, "'note' must be a string, not 7"],
    [{ user: {} }, "'user' must be a string, not an object with the keys none"],
    [{ explicit: 0 }, "'explicit' must be true or false, not 0"],
  ];
  const calls: [string, (options: never) => Promise<unknown>][] = [
    ['begin()', (options) => manager.begin(options)],
    ['begin()', (options) => coordinator.begin(options)],
    ['run()', (options) => manager.run(() => undefined, options)],
    ['run()', (options) => coordinator.run(() => undefined, options)],
  ];
  for (const [where, call] of calls) {
    for (const [options, message] of wrong) {
      const error = await assert.rejects(call(options as never), api.ConfigurationError);
      assert.ok(error.message.startsWith(where), error.message);
      assert.match(error.message, message);
    }
    for (const options of [null, 'serializable', 7, []]) {
      const error = await assert.rejects(call(options as never), api.ConfigurationError);
      assert.match(error.message, `${where} takes an object of options, not `);
    }
    await call({ isolation: undefined, timeoutMs: undefined } as never);
    if (manager.current !== undefined) await manager.abort();
    if (coordinator.current !== undefined) await coordinator.abort();
  }
});

test('a plain manager has no propagation, and a coordinator knows which there are', async () => {
  const manager = new api.TransactionManager();
  const error = await assert.rejects(
    manager.run(() => undefined, { propagation: 'required' } as never),
    api.ConfigurationError,
  );
  assert.match(error.message, "has no option 'propagation'");
  const other = await assert.rejects(
    new api.TransactionCoordinator().run(() => undefined, { propagation: 'REQUIRED' as never }),
    api.ConfigurationError,
  );
  assert.match(
    other.message,
    "'propagation' must be one of 'required', 'requires-new', 'nested', 'mandatory', 'supports', 'not-supported' and 'never', not 'REQUIRED'",
  );
});

test('wrong options of a coordinator are refused, and change nothing', async () => {
  const coordinator = new api.TransactionCoordinator();
  for (const options of [
    { explict: true },
    { explicit: 1 },
    { onError: 'log' },
    { allowUnsafeLastResources: 1 },
    { app: 7 },
    { app: 'a b' },
    null,
  ]) {
    assert.instance(
      thrownBy(() => coordinator.configure(options as never)),
      api.ConfigurationError,
    );
    assert.instance(
      thrownBy(() => new api.TransactionCoordinator(options as never)),
      api.ConfigurationError,
    );
  }
  assert.is(coordinator.explicit, true);
  for (const call of ['context', 'detached', 'suspend'] as const) {
    const error = thrownBy(() => (coordinator[call] as (fn: unknown) => unknown)('fn'));
    assert.instance(error, api.ConfigurationError);
    assert.match(error.message, `${call}() takes a function, not 'fn'`);
  }
  await assert.rejects(coordinator.run('fn' as never), api.ConfigurationError);
});

test('a library that copies an error’s own properties into one of its own keeps the code', () => {
  const error = new api.TransactionClosed('over', { resource: 'bank' });
  const copy: Record<string, unknown> = {};
  for (const key of Object.getOwnPropertyNames(error)) copy[key] = error[key as never];
  assert.is(copy['code'], 'ERR_TXN_CLOSED');
  assert.is(copy['resource'], 'bank');
  assert.not.ok(Object.keys(error).includes('code'), 'and it is printed once');
});
