// Protects whoever reads the messages of errors: whatever is passed in, a message is one short line, tells no password, and what is wrong
// with it is the error that comes, not another one that a hostile object throws.
import { inspect } from 'node:util';
import { ConfigurationError, TransactionCoordinator, onVote, register, transaction } from 'unanimous';
import { PgSession } from 'unanimous/pg';
import { MysqlSession } from 'unanimous/mysql';
import { RedisSession } from 'unanimous/redis';
import { MailSession } from 'unanimous/mail';
import { FileSession } from 'unanimous/files';
import { assert, suite } from '../support/suite.ts';

const test = suite('hostile arguments');

const throws = (): never => {
  throw new Error('thrown by a hostile object');
};
const named = (name: unknown): (() => void) => Object.defineProperty(() => undefined, 'name', { value: name });
const madeBy = (constructor: unknown): unknown => Object.create({ constructor });

/** What an application could pass on by mistake, or be made to. */
const HOSTILE: Readonly<Record<string, unknown>> = {
  'a text of several lines': 'first\nsecond\r\u2028third',
  'a text that moves the cursor': '\u001b[2J\u001b]0;owned\u0007\u009b31m\u202e',
  'a text of 1 MB': 'a'.repeat(1 << 20),
  'lone surrogates': '\ud800\udfff\ud83d',
  'an object with keys of several lines': { 'first\nsecond': 1, '\u001b[31m': 2 },
  'an object with a key of 1 MB': { ['k'.repeat(1 << 20)]: 1 },
  'an object of 10,000 keys': Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`k${index}`, index])),
  'an instance of a class with a hostile name': madeBy(named('forged\nline \u001b[31m')),
  'an instance of a class whose name is no text': madeBy(named(Symbol('s'))),
  'a function of a hostile name': named('forged\n\u001b[31m line'),
  'a function with a name of 1 MB': named('f'.repeat(1 << 20)),
  'a function whose name is no text': named(Symbol('s')),
  'an object whose constructor throws': {
    get constructor(): never {
      return throws();
    },
  },
  'an object that inspects itself': Object.assign(Object.create(null) as object, { [inspect.custom]: throws }),
  'an array that inspects itself': Object.assign([], { [inspect.custom]: () => 'forged\nline' }),
  'a proxy that throws': new Proxy({}, { get: throws, ownKeys: throws, getPrototypeOf: throws, has: throws }),
  'a proxy of a function that throws': new Proxy(() => undefined, { get: throws }),
  'a revoked proxy': (() => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  })(),
  'an array of long texts': ['a\nb'.repeat(100_000)],
};

/** Where a value comes in, and is described when it is refused. */
const DOORS: Readonly<Record<string, (value: any) => unknown>> = {
  'new PgSession()': (value) => new PgSession(value),
  'new MysqlSession()': (value) => new MysqlSession(value),
  'new RedisSession()': (value) => new RedisSession(value),
  'new MailSession()': (value) => new MailSession(value),
  'the name of a session': (value) => new FileSession({ name: value }),
  'an app': (value) => new TransactionCoordinator({ app: value }),
  'an option': (value) => new TransactionCoordinator({ watch: { longMs: value } }),
  'register()': (value) => register(value),
  'detached()': (value) => transaction.detached(value),
};

function assertPrintable(message: string, longest: number): void {
  assert.ok(message.length <= longest, `it has ${message.length} characters`);
  // oxlint-disable-next-line no-control-regex
  assert.not.match(message, /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/);
  assert.not.match(message, /\p{Surrogate}/u);
}

for (const [door, open] of Object.entries(DOORS)) {
  test(`${door} refuses hostile values in one short line`, () => {
    for (const [what, value] of Object.entries(HOSTILE)) {
      let error: unknown;
      try {
        open(value);
        continue;
      } catch (thrown) {
        error = thrown;
      }
      // What throws when it is looked at may be heard with its own error.
      if (/^a (revoked )?proxy/.test(what) && !(error instanceof ConfigurationError)) continue;
      assert.instance(error, ConfigurationError, `${what}: ${String(error)}`);
      assertPrintable((error as Error).message, 500);
    }
  });
}

test('a hostile value in the place of a function is refused as one in a transaction, and nothing else happens', async () => {
  const coordinator = new TransactionCoordinator();
  for (const [what, value] of Object.entries(HOSTILE)) {
    if (typeof value === 'function') continue;
    await coordinator.run(async () => {
      const refused = await assert.rejects(
        async () => onVote(value as never, { coordinator }),
        ConfigurationError,
        what,
      );
      assertPrintable(refused.message, 500);
    });
  }
});

test('an address that is passed in place of a pool is refused without its password', () => {
  const address = 'postgres://app:hunter2-and-more@db.example.org:5432/bank?sslpassword=hunter3';
  const long = `mysql://app:${'hunter2'.repeat(50)}@db.example.org/bank`;
  for (const value of [address, long, [address], [long]]) {
    for (const open of [DOORS['new PgSession()']!, DOORS['new MysqlSession()']!, DOORS['new RedisSession()']!]) {
      try {
        open(value);
        assert.unreachable();
      } catch (error) {
        assert.instance(error, ConfigurationError);
        assert.not.match(inspect(error), /hunter/);
      }
    }
  }
});
