// What the compiler knows of a Redis session: checked with the types of everything else, and never run.
import { type Cluster, type Redis, type ChainableCommander, Redis as RedisClass } from 'ioredis';
import { register } from 'unanimous';
import { type Buffered, RedisSession } from 'unanimous/redis';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_is: Same<A, B>): void => undefined;

declare const single: Redis;
declare const cluster: Cluster;

export function check(): void {
  const redis = register(new RedisSession(single, { name: 'redis', tokenTtlMs: false }));
  register(new RedisSession(cluster));
  register(new RedisSession(new RedisClass({ lazyConnect: true })));

  // Reads are ioredis' own.
  const get = redis.get('k');
  same<typeof get, Promise<string | null>>(true);
  const getBuffer = redis.getBuffer('k');
  same<typeof getBuffer, Promise<Buffer | null>>(true);
  const hgetall = redis.hgetall('k', (_error, _value?: Record<string, string>) => undefined);
  same<typeof hgetall, Promise<Record<string, string>>>(true);
  const zrange = redis.zrange('k', 0, -1, 'WITHSCORES');
  same<typeof zrange, Promise<string[]>>(true);

  // Writes are kept.
  const set = redis.set('k', 'v', 'EX', 1);
  same<typeof set, Buffered<'OK'>>(true);
  const setGet = redis.set('k', 'v', 'GET');
  same<typeof setGet, Buffered<string | null>>(true);
  const incr = redis.incr('k');
  same<typeof incr.result, Promise<number>>(true);
  const lpop = redis.lpopBuffer('k', 2);
  same<typeof lpop, Buffered<Buffer[] | null>>(true);
  const hset = redis.hset('k', { a: 1, b: '2' });
  same<typeof hset, Buffered<number>>(true);
  // @ts-expect-error an object is no key
  redis.set({}, 'v');

  // What is called by its name is one or the other, where the name is known.
  const called = redis.call('GET', 'k');
  same<typeof called, Promise<unknown>>(true);
  const written = redis.call('JSON.SET', 'k', '$', '1');
  same<typeof written, Buffered<unknown>>(true);
  const unknown = redis.callBuffer(String(Math.random()));
  same<typeof unknown, Promise<unknown> | Buffered<unknown>>(true);

  // Pipelines are ioredis' own.
  const pipeline = redis
    .pipeline([['get', 'k']])
    .set('k', 'v')
    .get('k');
  same<typeof pipeline, ChainableCommander>(true);
  const streamed = redis.scanStream({ match: 'k*' });
  same<typeof streamed, ReturnType<Redis['scanStream']>>(true);
  const watched = redis.watch('k', ['l', Buffer.from('m')]);
  same<typeof watched, Promise<void>>(true);

  // What has no place in a transaction isn't there.
  // @ts-expect-error it is refused
  redis.select(1);
  // @ts-expect-error it is refused
  redis.multi();
  // @ts-expect-error it is refused
  redis.subscribe('c');
  // @ts-expect-error it is refused
  redis.blpop('k', 0);
  // @ts-expect-error it is refused
  redis.config('GET', 'x');
  // @ts-expect-error a pool of pg is no client
  register(new RedisSession({ connect: () => undefined }));
  // @ts-expect-error there is no such option
  register(new RedisSession(single, { nme: 'x' }));
}
