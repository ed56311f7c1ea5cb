/**
 * What each command does, as the server says it (its flags `readonly` and `write`). Whatever isn't named here may write: so a
 * command of a module, or of a later server, is never sent before the transaction commits.
 */

/** Commands that change no data, or that the server refuses to let change any (EVAL_RO). */
export const READS = [
  'arcount',
  'arget',
  'argetrange',
  'argrep',
  'arinfo',
  'arlastitems',
  'arlen',
  'armget',
  'arnext',
  'arop',
  'arscan',
  'bitcount',
  'bitfield_ro',
  'bitpos',
  'command',
  'dbsize',
  'digest',
  'dump',
  'echo',
  'eval_ro',
  'evalsha_ro',
  'exists',
  'expiretime',
  'fcall_ro',
  'geodist',
  'geohash',
  'geopos',
  'georadius_ro',
  'georadiusbymember_ro',
  'geosearch',
  'get',
  'getbit',
  'getrange',
  'hexists',
  'hexpiretime',
  'hget',
  'hgetall',
  'hkeys',
  'hlen',
  'hmget',
  'hpexpiretime',
  'hpttl',
  'hrandfield',
  'hscan',
  'hstrlen',
  'httl',
  'hvals',
  'info',
  'keys',
  'lastsave',
  'lcs',
  'lindex',
  'llen',
  'lolwut',
  'lpos',
  'lrange',
  'memory',
  'mget',
  'object',
  'pexpiretime',
  'pfcount',
  'ping',
  'pttl',
  'pubsub',
  'randomkey',
  'role',
  'scan',
  'scard',
  'sdiff',
  'sdiffcard',
  'sinter',
  'sintercard',
  'sismember',
  'smembers',
  'smismember',
  'sort_ro',
  'srandmember',
  'sscan',
  'strlen',
  'substr',
  'sunion',
  'sunioncard',
  'time',
  'touch',
  'ttl',
  'type',
  'vcard',
  'vdim',
  'vemb',
  'vgetattr',
  'vinfo',
  'vismember',
  'vlinks',
  'vrandmember',
  'vrange',
  'vsim',
  'xinfo',
  'xlen',
  'xpending',
  'xrange',
  'xread',
  'xrevrange',
  'zcard',
  'zcount',
  'zdiff',
  'zinter',
  'zintercard',
  'zlexcount',
  'zmscore',
  'zrandmember',
  'zrange',
  'zrangebylex',
  'zrangebyscore',
  'zrank',
  'zrevrange',
  'zrevrangebylex',
  'zrevrangebyscore',
  'zrevrank',
  'zscan',
  'zscore',
  'zunion',
] as const;

const CONTROL = ['multi', 'exec', 'discard', 'watch', 'unwatch'] as const;
const CONNECTION = [
  'asking',
  'auth',
  'client',
  'hello',
  'himport',
  'quit',
  'readonly',
  'readwrite',
  'reset',
  'select',
] as const;
const SUBSCRIPTION = [
  'monitor',
  'psubscribe',
  'psync',
  'punsubscribe',
  'replconf',
  'ssubscribe',
  'subscribe',
  'sunsubscribe',
  'sync',
  'unsubscribe',
] as const;
const BLOCKING = [
  'blmove',
  'blmovem',
  'blmpop',
  'blpop',
  'brpop',
  'brpoplpush',
  'bzmpop',
  'bzpopmax',
  'bzpopmin',
  'wait',
  'waitaof',
] as const;
const ADMINISTRATION = [
  'acl',
  'backup',
  'bgrewriteaof',
  'bgsave',
  'cluster',
  'config',
  'debug',
  'failover',
  'function',
  'hotkeys',
  'latency',
  'module',
  'pfdebug',
  'pfselftest',
  'replicaof',
  'restore-asking',
  'save',
  'script',
  'sentinel',
  'shutdown',
  'slaveof',
  'slowlog',
  'trimslots',
] as const;

/** A command that only reads. */
export type ReadName = (typeof READS)[number];

/** A command that has no place in a transaction. */
export type RefusedName =
  | (typeof CONTROL)[number]
  | (typeof CONNECTION)[number]
  | (typeof SUBSCRIPTION)[number]
  | (typeof BLOCKING)[number]
  | (typeof ADMINISTRATION)[number];

const ADVICE_ON_BLOCKING =
  'nothing may be waited for while others wait for the transaction: wait on a client of your own before it begins, and take the element here with a command that does not block';

const ADVICE: readonly (readonly [readonly string[], string])[] = [
  [
    CONTROL,
    'transactions are begun and ended by their coordinator, with run(), commit(), abort() and savepoint(); keys are watched with watch() of the session',
  ],
  [
    CONNECTION,
    "connections belong to the session, and serve other transactions too: set the client's options, or use a client of your own",
  ],
  [SUBSCRIPTION, 'subscriptions outlive transactions: use a client of your own'],
  [BLOCKING, ADVICE_ON_BLOCKING],
  [ADMINISTRATION, 'it is about the server rather than about data: use the client itself'],
];

/** How many arguments a command must have at least: what the server would refuse at the commit is refused at the call. */
const LEAST_ARGUMENTS: readonly (readonly [number, string])[] = [
  [
    1,
    'bitfield decr del delex getdel getex incr increx lpop persist pfadd pfmerge rpop sort spop unlink xcfgset xgroup zpopmax zpopmin',
  ],
  [
    2,
    'append ardel arinsert arseek copy decrby eval evalsha expire expireat fcall getset hdel incrby incrbyfloat lpush lpushx move mset msetnx pexpire pexpireat publish rename renamenx rpoplpush rpush rpushx sadd sdiffstore set setnx sinterstore spublish srem sunionstore swapdb vrem xdel xsetid zrem',
  ],
  [
    3,
    'ardelrange armset arring arset bitop hincrby hincrbyfloat hmset hset hsetnx lmpop lrem lset ltrim msetex psetex restore setbit setex setrange smove vsetattr xack xtrim zadd zdiffstore zincrby zinterstore zmpop zremrangebylex zremrangebyrank zremrangebyscore zunionstore',
  ],
  [4, 'geoadd georadiusbymember hgetdel hgetex hpersist linsert lmove lmovem vadd xadd xdelex xidmprecord zrangestore'],
  [5, 'georadius hexpire hexpireat hpexpire hpexpireat hsetex migrate xackdel xautoclaim xclaim'],
  [6, 'xnack xreadgroup'],
  [7, 'geosearchstore'],
];

const reads: ReadonlySet<string> = new Set(READS);
const advice: ReadonlyMap<string, string> = new Map(
  ADVICE.flatMap(([names, text]) => names.map((name) => [name, text])),
);
const leastArguments: ReadonlyMap<string, number> = new Map(
  LEAST_ARGUMENTS.flatMap(([count, names]) => names.split(' ').map((name): [string, number] => [name, count])),
);
/** What may fail in the middle, having written already. */
const STEPWISE: ReadonlySet<string> = new Set(['eval', 'evalsha', 'fcall', 'migrate']);

/** Whether a command, by its name in lower case, changes nothing. */
export function isRead(name: string): boolean {
  return reads.has(name);
}

/** Why a command, by its name in lower case, is refused, and what to do; undefined where it isn't. */
export function adviceOn(name: string, args: readonly (string | Buffer)[] = []): string | undefined {
  return advice.get(name) ?? (blocks(name, args) ? ADVICE_ON_BLOCKING : undefined);
}

/** How many arguments a command has at least, as far as is known. */
export function leastArgumentsOf(name: string): number {
  return leastArguments.get(name) ?? 0;
}

/** Whether a command that failed may have written before. */
export function mayFailHalfway(name: string): boolean {
  return STEPWISE.has(name);
}

/** XREAD and XREADGROUP wait where they have the option BLOCK, which comes before STREAMS and behind `GROUP name consumer`. */
function blocks(name: string, args: readonly (string | Buffer)[]): boolean {
  if (name !== 'xread' && name !== 'xreadgroup') return false;
  const words = args.map((arg) => String(arg).toLowerCase());
  return words.slice(name === 'xread' ? 0 : 3, words.indexOf('streams')).includes('block');
}
