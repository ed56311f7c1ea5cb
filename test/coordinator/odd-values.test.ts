// Protects messages about values that were given where something else was expected: whatever the value does when it is looked at, the message is
// made, and a password in it is not shown.
import { ConfigurationError, TransactionCoordinator, register } from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { raise, thrownBy } from './recording.ts';

const test = suite('odd values');

const coordinator = new TransactionCoordinator();

/** What is said of a value that is no function, or of an option that is none. */
function said(value: unknown): string {
  const error = thrownBy(() => coordinator.configure({ allowUnsafeCommit: value as boolean }));
  assert.instance(error, ConfigurationError);
  return error.message.slice(error.message.indexOf(', not ') + ', not '.length);
}

test('an object or a function that throws when it is looked at', () => {
  const object = {
    get constructor(): never {
      return raise(new Error('don’t'));
    },
  };
  assert.is(said(object), "an object that can't be looked at");
  const { proxy, revoke } = Proxy.revocable(() => undefined, {});
  revoke();
  assert.is(said(proxy), "a value that can't be looked at");
});

test('a function and a class whose name is no text', () => {
  const named = (name: unknown): unknown => Object.defineProperty(() => undefined, 'name', { value: name });
  assert.is(said(named('work')), 'the function work');
  assert.is(said(named('')), 'a function');
  assert.is(said(named(5)), 'a function');
  assert.is(said({ constructor: named({}) }), 'an instance of ');
});

test('the address of a server is shown without its password', () => {
  assert.is(said('postgres://kim:hunter2@host/db').includes('hunter2'), false);
  assert.match(said('postgres://kim:hunter2@host/db'), 'host/db');
  assert.is(said(['postgres://kim:hunter2@host/db']).includes('hunter2'), false);
});

test('a data manager that is in no transaction is called unknown by its errors', async () => {
  const txn = await coordinator.begin();
  assert.is(txn.nameOf({} as never), 'unknown');
  await txn.abort();
});

test('what is no session is refused by the functions for sessions, by name', () => {
  for (const odd of [undefined, null, 'pg', {}, { configure: () => undefined }]) {
    const error = thrownBy(() => register(odd as never));
    assert.instance(error, ConfigurationError);
    assert.match(error.message, 'register() takes a session');
  }
});
