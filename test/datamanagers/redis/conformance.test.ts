import { ReplyError } from 'ioredis';
import { ConnectionLostError } from 'unanimous';
import type { ConformanceSubject } from 'unanimous/testing';
import { assert, suite } from '../../support/suite.ts';
import { conform } from '../testing/conform.ts';
import { Store, onText } from './setup.ts';

const test = suite('a Redis session is a data manager');
const store = await Store.open({ endTimeoutMs: 1_000, resolveTimeoutMs: 2_000 });
test.after(() => store.close());

const reply = (message: string): Error => new (ReplyError as new (message: string) => Error)(message);

const subject: ConformanceSubject<Store> = {
  capabilities: {
    savepoints: true,
    readOnlyVote: true,
    lastResource: true,
    onePhase: false,
    recoverable: false,
    readsOwnWrites: false,
  },
  async open() {
    await store.admin.flushall();
    return store;
  },
  async close({ proxy }) {
    proxy.onClientData = undefined;
    await store.assertClean();
  },
  write: ({ session }, value) => session.sadd('values', value),
  read: ({ session }) => session.smembers('values'),
  stored: ({ admin }) => admin.smembers('values'),
  held: async () => ({
    inside: (await store.connections()).filter(({ multi }) => multi !== '-1').length,
    watching: (await store.connections()).filter(({ watches }) => watches > 0).length,
  }),
  failures: {
    work: async ({ session }) => {
      session.call('SADD');
    },
    savepoint: 'it only remembers how much was written',
    rollback: 'it only forgets what was written',
    tpcBegin: 'it only refuses work from then on',
    async commit({ session }) {
      // Not awaited.
      void session.watch('values').catch(() => undefined);
    },
    tpcVote({ proxy }) {
      onText(proxy, 'unanimous:token', (link) => {
        link.cut();
        return false;
      });
    },
    tpcAbort: 'it only forgets what was written',
    abort: 'it only forgets what was written',
  },
  async conflict({ session, admin }) {
    await session.watch('values');
    await admin.sadd('values', 'somebody');
    await admin.srem('values', 'somebody');
  },
  errors: {
    transient: [
      reply('LOADING Redis is loading the dataset in memory'),
      reply("READONLY You can't write against a read only replica."),
      reply('TRYAGAIN Multiple keys request during rehashing of slot'),
      new ConnectionLostError('the connection is gone'),
    ],
    permanent: [
      reply('WRONGTYPE Operation against a key holding the wrong kind of value'),
      reply('ERR syntax error'),
      reply('NOPERM this user has no permissions'),
    ],
  },
};

conform(test, subject);

test('what conforms was written to the server', async () => {
  assert.is(await store.admin.dbsize(), (await store.tokens()).length + (await store.admin.exists('values')));
});
