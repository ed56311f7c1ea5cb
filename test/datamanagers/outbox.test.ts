// Protects the messages in a decision store: each is somebody's alone for a time, those of a target keep their order also where several
// processes take them at once, and what a person does to them is done in one step with the trace of it.
import { type DecisionLog, MemoryDecisionLog, MemoryDecisionStore, type Outbox, type StoredMessage } from 'unanimous';
import { mariadb, mysql, postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { type DecisionStore, decisionOf, mysqlStore, pgStore } from './decision-stores.ts';

/** A store of messages, as several processes have it. */
interface Place {
  /** Where a claim takes several statements: keeps others from claiming until the function that is returned is called. */
  pauseInClaim?(): Promise<() => Promise<void>>;
  readonly title: string;
  process(): DecisionLog;
  /** Makes all messages due, as if the claims had run out. */
  due(): Promise<void>;
  endProcesses(): Promise<void>;
  close(): Promise<void>;
}

let tables = 0;

function inDatabase(store: DecisionStore): Place {
  let tablePrefix = `outbox${++tables}_`;
  const pauseInClaim = async (): Promise<() => Promise<void>> => {
    const paused = await store.transaction(`select * from ${tablePrefix}meta where name = 'version' for update`);
    return () => paused.rollback();
  };
  return {
    title: store.title,
    ...(store.title === 'PostgreSQL' ? {} : { pauseInClaim }),
    process: () => store.process({ tablePrefix }).log,
    due: async () => void (await store.rows(`update ${tablePrefix}outbox set next_at = '2000-01-01 00:00:00'`)),
    endProcesses: async () => {
      await store.endProcesses();
      tablePrefix = `outbox${++tables}_`;
    },
    close: () => store.close(),
  };
}

function inMemory(): Place {
  let store = new MemoryDecisionStore();
  return {
    title: 'memory',
    process: () => new MemoryDecisionLog(store),
    due: async () => {
      for (const waiting of store.messages) waiting.dueMs = 0;
    },
    endProcesses: async () => {
      store = new MemoryDecisionStore();
    },
    close: () => Promise.resolve(),
  };
}

const oracle = await mysql();
const places: Place[] = [
  inMemory(),
  inDatabase(await pgStore(await postgres())),
  inDatabase(await mysqlStore('MariaDB', await mariadb())),
  ...(oracle === undefined ? [] : [inDatabase(await mysqlStore('MySQL', oracle))]),
];

for (const place of places) {
  const test = suite(`outbox in ${place.title}`);
  test.after.each(() => place.endProcesses());
  test.after(() => place.close());

  /** A process, and another one, and transactions of the first with messages to these targets. */
  async function stored(...transactions: string[][]): Promise<{ one: Outbox; other: Outbox; log: DecisionLog }> {
    const log = place.process();
    await log.open();
    await log.register('one', 'first', 60_000);
    for (const [index, targets] of transactions.entries()) {
      const messages = targets.map((target, at) => ({ target, payload: `${index + 1}.${at + 1} ü' \\ "${target}"` }));
      await log.decide({ ...decisionOf('one', index + 1), messages });
    }
    const other = place.process();
    await other.open();
    return { log, one: log.outbox!, other: other.outbox! };
  }
  const claim = (
    outbox: Outbox,
    targets: string[],
    limit: number,
    forMs: number,
    inOrder: string[] = [],
  ): Promise<StoredMessage[]> => outbox.claim({ prefix: 'shop:store:', targets, limit, forMs, inOrder });
  const numbers = (messages: readonly { payload: string }[]): string[] =>
    messages.map(({ payload }) => payload.split(' ')[0]!);

  test('what was just stored is its process’s alone, then whoever’s comes first, and that one’s alone for a time', async () => {
    const { one, other } = await stored(['a', 'b'], ['a']);
    assert.equal(await claim(one, ['a', 'b'], 10, 60_000), []);
    await place.due();
    const claimed = await claim(one, ['a'], 10, 60_000);
    assert.equal(numbers(claimed), ['1.1', '2.1']);
    assert.is(claimed[0]!.payload, `1.1 ü' \\ "a"`);
    assert.equal(await claim(other, ['a', 'c'], 10, 60_000), []);
    assert.equal(numbers(await claim(other, ['b'], 10, 60_000)), ['1.2']);
    await one.remove(claimed.slice(0, 1));
    await one.hold(claimed.slice(1), 0);
    assert.equal(numbers(await claim(other, ['a'], 10, 60_000)), ['2.1']);
    await other.hold(claimed.slice(1), 60_000);
    assert.equal(await claim(one, ['a'], 10, 60_000), []);
  });

  test('in order, nothing is claimed behind what waits to be tried again, or is somebody else’s; dead ones keep nothing', async () => {
    const { one, other } = await stored(['a', 'b'], ['a', 'b'], ['a']);
    await place.due();
    const [first] = await claim(one, ['a'], 1, 60_000, ['a']);
    assert.equal(numbers([first!]), ['1.1']);
    assert.equal(
      numbers(await claim(other, ['a', 'b'], 10, 60_000, ['a'])),
      ['1.2', '2.2'],
      'b has an order of its own',
    );
    await one.failed(first!, 'no', 60_000);
    assert.equal(await claim(other, ['a'], 10, 60_000, ['a']), [], 'it waits to be tried again');
    assert.equal(numbers(await claim(other, ['a'], 1, 60_000)), ['2.1'], 'where the order doesn’t matter');
    await one.failed(first!, 'no', undefined);
    assert.equal(await claim(other, ['a'], 10, 60_000, ['a']), [], 'the second one is somebody else’s');
    await other.remove([{ gid: decisionOf('one', 2).gid, sequence: 1 }]);
    assert.equal(numbers(await claim(other, ['a'], 10, 60_000, ['a'])), ['3.1']);
  });

  test('in order, of processes that claim at the same moment each gets what nobody gets before it', async () => {
    const { one, other } = await stored(...Array.from({ length: 12 }, () => ['a']));
    const taken: string[] = [];
    const work = async (outbox: Outbox): Promise<void> => {
      for (let round = 0; round < 12; round++) {
        const claimed = await claim(outbox, ['a'], 2, 60_000, ['a']);
        taken.push(...numbers(claimed));
        if (claimed.length > 0) await outbox.remove(claimed);
      }
    };
    await place.due();
    await Promise.all([work(one), work(other), work(one), work(other)]);
    await work(one);
    assert.equal(
      taken,
      Array.from({ length: 12 }, (_, index) => `${index + 1}.1`),
    );
  });

  if (place.pauseInClaim !== undefined) {
    test('a process that was paused while it claimed keeps the others from claiming, but from nothing else', async () => {
      const { one } = await stored(['a'], ['a']);
      await place.due();
      const wake = await place.pauseInClaim!();
      assert.equal(await claim(one, ['a'], 10, 60_000, ['a']), []);
      assert.equal(numbers(await claim(one, ['a'], 1, 60_000)), ['1.1'], 'where the order doesn’t matter');
      await wake();
      await one.hold([{ gid: decisionOf('one', 1).gid, sequence: 1 }], 0);
      await assert.eventually(async () =>
        assert.equal(numbers(await claim(one, ['a'], 10, 60_000, ['a'])), ['1.1', '2.1']),
      );
    });
  }

  test('of several applications in one store each gets its own messages, and waits for nobody else’s', async () => {
    const { one, log } = await stored(['a']);
    await log.register('two', 'second', 60_000);
    const messages = [{ target: 'a', payload: 'other ' }];
    await log.decide({ gid: 'shop_:store:two:1', incarnation: 'two', participants: [], messages });
    await place.due();
    await one.hold([{ gid: decisionOf('one', 1).gid, sequence: 1 }], 60_000);
    const others = { targets: ['a'], inOrder: ['a'], limit: 10, forMs: 60_000 };
    assert.equal(await one.claim({ ...others, prefix: 'shop:store:' }), []);
    assert.equal(await one.claim({ ...others, prefix: 'shopx:store:' }), []);
    assert.equal(numbers(await one.claim({ ...others, prefix: 'shop_:store:' })), ['other']);
  });

  test('a person sees what waits, oldest first, why, since when and until when', async () => {
    const { one } = await stored(['a'], ['b']);
    const gid = decisionOf('one', 1).gid;
    await one.failed({ gid, sequence: 1 }, 'it’s \u{1F600} \\ "no"', 600_000);
    const listed = await one.list(10);
    assert.equal(numbers(listed), ['1.1', '2.1']);
    assert.equal(numbers(await one.list(1)), ['1.1']);
    const [first, second] = listed;
    assert.equal(
      [first!.attempts, first!.error, first!.isDead, second!.attempts, second!.error],
      [1, 'it’s \u{1F600} \\ "no"', false, 0, undefined],
    );
    assert.ok(first!.ageMs >= 0 && first!.ageMs < 60_000, String(first!.ageMs));
    assert.ok(first!.dueInMs > 500_000 && first!.dueInMs <= 600_000, String(first!.dueInMs));
    assert.ok(second!.dueInMs > 0 && second!.dueInMs <= 30_000, String(second!.dueInMs));
    await one.failed({ gid, sequence: 1 }, 'no', undefined);
    assert.is((await one.list(10))[0]!.isDead, true);
    await one.retry([{ gid, sequence: 1 }]);
    const [again] = await one.list(10);
    assert.equal([again!.isDead, again!.dueInMs, again!.attempts, again!.error], [false, 0, 2, 'no']);
  });

  test('what is dropped by hand is gone, and who did it is kept; what isn’t there is not dropped, and leaves no trace', async () => {
    const { one, other, log } = await stored(['a', 'b'], ['a']);
    const { gid } = decisionOf('one', 1);
    await one.failed({ gid, sequence: 2 }, 'no such address', undefined);
    const keys = [
      { gid, sequence: 2 },
      { gid, sequence: 7 },
    ];
    const hand = { by: `it's \\ "ops"@web é`, forced: true };
    const dropped = await one.drop(keys, hand);
    assert.equal(
      dropped.map(({ payload, target, error }) => [payload, target, error]),
      [[`1.2 ü' \\ "b"`, 'b', 'no such address']],
    );
    assert.equal(await other.drop(keys, hand), []);
    assert.equal(numbers(await other.list(10)), ['1.1', '2.1']);
    const actions = await log.handActions(gid);
    assert.equal(
      actions.map((each) => [each.gid, each.action, each.forced, each.message]),
      [[gid, 'drop', true, { sequence: 2, target: 'b', error: 'no such address' }]],
    );
    assert.match(actions[0]!.by, /^it's . "ops"@web é$/);
    assert.equal(await log.handActions(decisionOf('one', 2).gid), []);
    await log.actByHand({ action: 'forget', by: 'ops', forced: false }, decisionOf('one', 1));
    assert.equal(
      (await log.handActions(gid)).map(({ action }) => action),
      ['drop', 'forget'],
    );
  });
}
