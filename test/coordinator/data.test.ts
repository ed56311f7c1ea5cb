// Protects what is known of a transaction: its data, notes, user and extension, and which errors it says to be retryable.
import {
  CommitOutcomeUnknownError,
  HeuristicError,
  InDoubtError,
  TransactionManager,
  TransientError,
  type Transaction,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { recording, thrownBy, turns } from './recording.ts';

const test = suite('data');

const begin = (): Promise<Transaction> => new TransactionManager().begin();

async function warningsOf(action: () => void): Promise<Error[]> {
  const warnings: Error[] = [];
  const listener = (warning: Error): void => void warnings.push(warning);
  process.on('warning', listener);
  try {
    action();
    await turns(2);
  } finally {
    process.off('warning', listener);
  }
  return warnings;
}

test('zope 104: data is kept by identity; what is absent is undefined', async () => {
  const txn = await begin();
  const [first, second] = [{}, {}];
  txn.setData(first, 'first');
  txn.setData(second, 'second');
  txn.setData('text', 0);
  assert.is(txn.data(first), 'first');
  assert.is(txn.data(second), 'second');
  assert.is(txn.data('text'), 0);
  assert.is(txn.data({}), undefined);
  txn.setData(first, 'again');
  assert.is(txn.data(first), 'again');
});

test('zope 105: data is discarded when the transaction ends, and kept while its commit has only failed', async () => {
  for (const end of ['commit', 'abort'] as const) {
    const txn = await begin();
    txn.setData('key', 'value');
    await txn[end]();
    assert.is(txn.data('key'), undefined);
  }
  const txn = await begin();
  txn.join(recording([], 'a', { fails: { commit: new Error('no') } }));
  txn.setData('key', 'value');
  await assert.rejects(txn.commit());
  assert.is(txn.data('key'), 'value');
  await txn.abort();
  assert.is(txn.data('key'), undefined);
});

test('zope 106: notes are trimmed and joined with one newline', async () => {
  const txn = await begin();
  txn.note('  first \n');
  assert.is(txn.description, 'first');
  txn.note('\tsecond\nline  ');
  assert.is(txn.description, 'first\nsecond\nline');
});

test('zope 107: a note or description of null changes nothing; a user of null throws RangeError', async () => {
  const txn = await begin();
  txn.note('kept');
  for (const nothing of [null, undefined]) {
    txn.note(nothing);
    txn.description = nothing as never;
    assert.is(txn.description, 'kept');
    const error = thrownBy(() => (txn.user = nothing as never));
    assert.instance(error, RangeError);
    assert.match(error.message, `the user of a transaction must be a string, not ${nothing}`);
    assert.instance(
      thrownBy(() => txn.setUser(nothing as never)),
      RangeError,
    );
    assert.instance(
      thrownBy(() => txn.setUser('name', null as never)),
      RangeError,
    );
  }
  assert.is(txn.user, '');
});

test('zope 108: what is no text is taken as text, with a deprecation warning', async () => {
  const txn = await begin();
  for (const [what, set, expected] of [
    ['note', () => txn.note(7 as never), () => txn.description === '7'],
    ['description', () => (txn.description = 8 as never), () => txn.description === '8'],
    ['user', () => (txn.user = 9 as never), () => txn.user === '9'],
    ['user', () => txn.setUser(10 as never), () => txn.user === '/ 10'],
  ] as const) {
    const warnings = await warningsOf(() => set());
    assert.equal(
      warnings.map(({ name, message }) => [name, message.split(';')[0]]),
      [['DeprecationWarning', `the ${what} of a transaction must be a string`]],
    );
    assert.is(expected(), true);
  }
});

test('zope 109: setUser stores path and name; the property stores what it is given', async () => {
  const txn = await begin();
  txn.setUser('jim');
  assert.is(txn.user, '/ jim');
  txn.setUser('jim', '/users');
  assert.is(txn.user, '/users jim');
  txn.user = 'jim';
  assert.is(txn.user, 'jim');
});

test('zope 110: setExtendedInfo adds or overwrites, whatever the name', async () => {
  const txn = await begin();
  txn.setExtendedInfo('place', 'here');
  txn.setExtendedInfo('place', 'there');
  txn.setExtendedInfo('__proto__', 'a name like any other');
  assert.equal(Object.entries(txn.extension), [
    ['place', 'there'],
    ['__proto__', 'a name like any other'],
  ]);
  assert.is(Object.getPrototypeOf(txn.extension), Object.prototype);
});

test('note and user can be given as options of begin, as note() and setUser() take them', async () => {
  const txn = await new TransactionManager().begin({ note: ' why ', user: 'jim' });
  assert.is(txn.description, 'why');
  assert.is(txn.user, '/ jim');
});

test('what is known of a transaction can be read after its end', async () => {
  const txn = await new TransactionManager().begin({ note: 'why', user: 'jim' });
  txn.setExtendedInfo('place', 'here');
  const { id } = txn;
  await txn.commit();
  assert.equal([txn.id, txn.description, txn.user, txn.extension], [id, 'why', '/ jim', { place: 'here' }]);
});

test('every transaction has an id of its own, of at most 64 bytes', async () => {
  const ids = new Set<string>();
  for (let index = 0; index < 100; index++) {
    const { id } = await begin();
    assert.match(id, /^[A-Za-z0-9_.-]{1,12}:-:[0-9a-f]{20}:[0-9a-z]+$/);
    assert.ok(Buffer.byteLength(id) <= 64);
    ids.add(id);
  }
  assert.is(ids.size, 100);
});

test('zope 112: a TransientError or a subclass of it is retryable', async () => {
  class Conflict extends TransientError {}
  const txn = await begin();
  assert.is(txn.isRetryableError(new TransientError('again')), true);
  assert.is(txn.isRetryableError(new Conflict('again')), true);
  assert.is(txn.isRetryableError(new Error('final')), false);
  for (const thrown of ['a text', undefined, null, 0]) assert.is(txn.isRetryableError(thrown), false);
});

test('zope 112: an error is retryable when any data manager says so', async () => {
  const txn = await begin();
  const error = new Error('conflict');
  txn.join(recording([], 'a'));
  assert.is(txn.isRetryableError(error), false);
  txn.join(recording([], 'b', { shouldRetry: (given) => given === error }));
  assert.is(txn.isRetryableError(error), true);
  assert.is(txn.isRetryableError(new Error('other')), false);
});

test('zope 113: data managers are asked in the order of joining, and the first yes wins', async () => {
  const asked: string[] = [];
  const txn = await begin();
  for (const name of ['c', 'a', 'b']) {
    txn.join(recording([], name, { shouldRetry: () => asked.push(name) > 1 }));
  }
  assert.is(txn.isRetryableError(new Error('conflict')), true);
  assert.equal(asked, ['c', 'a']);
  asked.length = 0;
  assert.is(txn.isRetryableError(new TransientError('again')), true);
  assert.equal(asked, []);
});

test('an error is retryable when one of its causes is, and a ring of causes ends', async () => {
  const txn = await begin();
  const cause = new TransientError('again');
  assert.is(txn.isRetryableError(new Error('outer', { cause: new Error('inner', { cause }) })), true);
  const ring = new Error('ring');
  ring.cause = ring;
  assert.is(txn.isRetryableError(ring), false);
  txn.join(recording([], 'a', { shouldRetry: ({ message }) => message === 'inner' }));
  assert.is(txn.isRetryableError(new Error('outer', { cause: new Error('inner') })), true);
});

test('where something may have been committed nothing is retryable, whatever caused it and whoever says so', async () => {
  const txn = await begin();
  txn.join(recording([], 'a', { shouldRetry: () => true }));
  const cause = new TransientError('again');
  const final = [
    new CommitOutcomeUnknownError('lost', { cause }),
    new InDoubtError('in doubt', { cause, finished: [], unfinished: [] }),
    new HeuristicError('partly applied', { cause }),
  ];
  for (const error of final) {
    assert.is(txn.isRetryableError(error), false);
    assert.is(txn.isRetryableError(new Error('outer', { cause: error })), false);
  }
});
