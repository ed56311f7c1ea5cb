import { ConfigurationError, TransactionClosed, TransactionStateError, transaction } from 'unanimous';
import type { Buffered, RedisSession } from 'unanimous/redis';
import { assert, suite } from '../../support/suite.ts';
import { Store, rejection, says } from './setup.ts';

const test = suite('a pipeline of a Redis session');
const store = await Store.open();
const { session, admin } = store;
test.before.each(() => admin.flushall());
test.after(() => store.close());

test('sends what reads in one flight, and keeps what writes', async () => {
  await admin.set('k', 'v');
  await transaction.run(() => void session.set('warm', '1'));
  let results: Awaited<ReturnType<ReturnType<RedisSession['pipeline']>['exec']>> = null;
  store.proxy.resetFlights();
  await transaction.run(async () => {
    const pipeline = session.pipeline().get('k').set('k', 'w').getBuffer('k').incr('n').hgetall('k');
    assert.is(pipeline.length, 5);
    results = await pipeline.exec();
    assert.is(store.proxy.flights, 1);
    assert.is(await session.get('k'), 'v');
  });
  assert.is(store.proxy.flights, 3);
  const [get, set, getBuffer, incr, hgetall] = results!;
  assert.equal(get, [null, 'v']);
  assert.equal(getBuffer, [null, Buffer.from('v')]);
  assert.is(await (set![1] as Buffered<unknown>).result, 'OK');
  assert.is(await (incr![1] as Buffered<unknown>).result, 1);
  assert.match(hgetall![0]!.message, /WRONGTYPE/);
  assert.equal(await store.contents(), { k: 'w', n: '1', warm: '1' });
});

test('takes commands as an array, callbacks and custom commands', async () => {
  await admin.set('k', 'v');
  const own = store.another({ name: 'scripts' });
  own.defineCommand('put', { numberOfKeys: 1, lua: "return redis.call('set', KEYS[1], ARGV[1])" });
  let read: unknown;
  await transaction.run(async () => {
    const pipeline = own.pipeline([
      ['get', 'k'],
      ['call', 'SET', 'l', '1'],
    ]) as ReturnType<RedisSession['pipeline']> & { put(key: string, value: string): void };
    pipeline.put('m', '2');
    pipeline.get('k', (error, value) => {
      read = [error, value];
    });
    const results = await new Promise<unknown[]>((resolve, reject) => {
      void pipeline.exec((error, each) => (error ? reject(error) : resolve(each!)));
    });
    assert.is(results.length, 4);
  });
  assert.equal(read, [null, 'v']);
  assert.equal(await store.contents(), { k: 'v', l: '1', m: '2' });
});

test('keeps nothing where one of its writes is refused', async () => {
  await transaction.run(
    async () => {
      await session.get('k');
      const error = await rejection(session.pipeline().get('k').set('k', '1').exec());
      assert.instance(error, TransactionStateError);
    },
    { readOnly: true },
  );
});

test('is executed once, and in the transaction that it was made in', async () => {
  let late!: ReturnType<RedisSession['pipeline']>;
  await transaction.run(async () => {
    const pipeline = session.pipeline().set('k', '1');
    await pipeline.exec();
    await assert.rejects(pipeline.exec(), says(/executed once/));
    late = session.pipeline().set('late', '1').get('late');
  });
  await assert.rejects(late.exec(), (error: unknown) => (error as { code?: string }).code === 'ERR_TXN_NO_TRANSACTION');
  const stray = await transaction.run(() => session.pipeline().set('late', '1'));
  await transaction.run(() => assert.rejects(stray.exec(), TransactionClosed));
  assert.equal(await store.contents(), { k: '1' });
});

test('takes commands only from an array', async () => {
  await transaction.run(() => {
    for (const name of ['exec', 'addBatch', 'constructor', 'unheardOf', undefined]) {
      assert.throws(
        () => session.pipeline([['set', 'k', '1'], [name]]),
        (error: unknown) => error instanceof ConfigurationError && /a pipeline takes commands/.test(error.message),
      );
    }
  });
});
