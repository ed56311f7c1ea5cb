// Protects the decision that is committed along with the store's own changes: both or neither, whatever happens on the way, and the
// user hears what the database has said.
import {
  type CoordinatorOptions,
  DecisionFailedError,
  FencedError,
  InDoubtError,
  MemoryStore,
  type Transaction,
} from 'unanimous';
import { mariadb, mysql, postgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { type DecisionStore, type Process, mysqlStore, pgStore } from './decision-stores.ts';
import { onText, plain } from './sql/helpers.ts';

const oracle = await mysql();
const stores: [store: DecisionStore, isWarm: boolean][] = [
  [await pgStore(await postgres()), false],
  // From the second time on, what a decision is written by has a name at the server.
  [await pgStore(await postgres()), true],
  [await mysqlStore('MariaDB', await mariadb()), false],
  ...(oracle === undefined ? [] : [[await mysqlStore('MySQL', oracle), false] as [DecisionStore, boolean]]),
];

let tables = 0;

for (const [store, isWarm] of stores) {
  const test = suite(`decisions that a commit takes along in ${store.title}${isWarm ? ', prepared' : ''}`);
  const isPg = store.title === 'PostgreSQL';
  let tablePrefix: string;
  test.before.each(async () => {
    tablePrefix = `carrier${++tables}_`;
    await store.rows(`create table ${tablePrefix}things (id int primary key)`);
  });
  test.after.each(() => store.endProcesses());
  test.after(() => store.close());

  /** A process whose transactions change the store's database and a memory. */
  const open = async (options: CoordinatorOptions = {}) => {
    const process = store.process({ tablePrefix });
    const { coordinator, log } = process;
    const errors: Error[] = [];
    coordinator.configure({
      decisionLog: log,
      recovery: false,
      onError: (error) => void errors.push(error),
      ...options,
    });
    const memory = new MemoryStore({ name: 'memory', role: 'recoverable', coordinator });
    await coordinator.run(() => undefined);
    const query = (text: string): Promise<unknown> =>
      (process.session as { query(text: string): Promise<unknown> }).query(text);
    if (isWarm) {
      await coordinator.run(async () => {
        await query(`insert into ${tablePrefix}things values (0)`);
        memory.set('other thing', 1);
      });
      await coordinator.recover();
      for (const table of ['things', 'decision']) await store.rows(`delete from ${tablePrefix}${table}`);
    }
    let current: Transaction | undefined;
    const run = (work?: (txn: Transaction) => unknown, attempts = 1): Promise<Transaction> =>
      coordinator.run(
        async (txn) => {
          current = txn;
          await query(`insert into ${tablePrefix}things values (1)`);
          memory.set('thing', 1);
          await work?.(txn);
          return txn;
        },
        { attempts, backoff: false },
      );
    return { ...process, coordinator, memory, errors, query, run, current: () => current! };
  };
  type Opened = Awaited<ReturnType<typeof open>>;

  /** Where both are, or neither is: how many things there are. */
  const things = async ({ memory, inUse }: Opened): Promise<number> => {
    await assert.eventually(() => assert.is(inUse(), 0, 'every connection is given back'));
    const rows = await store.rows(`select * from ${tablePrefix}things`);
    assert.is(memory.committed.get('thing'), rows.length === 0 ? undefined : 1, 'the same in both');
    assert.equal(await memory.listPrepared(), [], 'nothing is prepared');
    return rows.length;
  };

  const decisions = ({ log }: Process): Promise<string[]> =>
    log.decisions(10).then((rows) => rows.map(({ outcome }) => outcome));

  /** What the commit of the decision is sent with. */
  const commit = (): string => (isPg ? `insert into ${tablePrefix}decision` : 'xa commit');

  test('it is there when the commit is, with who must follow, and deleted when all have', async () => {
    const one = await open();
    const seen: unknown[] = [];
    const finish = async (): Promise<void> => {
      const rows = await one.log.decisions(10);
      seen.push(await store.rows(`select id from ${tablePrefix}things`));
      seen.push(rows.map(({ participants, outcome }) => [participants, outcome]));
    };
    const txn = await one.run((txn) => txn.join(plain('!', { tpcFinish: finish })));
    assert.equal(txn.outcome, { result: 'committed', way: 'last-resource' });
    assert.equal(seen, [[{ id: 1 }], [[['memory'], 'committed']]]);
    assert.is(await things(one), 1);
    await one.coordinator.close();
    assert.equal(await store.rows(`select * from ${tablePrefix}decision`), []);
    assert.equal(await store.rows(`select * from ${tablePrefix}node`), []);
  });

  test('who was fenced commits nothing, and goes on under a new identity', async () => {
    const one = await open();
    const fenced = (await one.log.nodes())[0]!.incarnation;
    const other = store.process({ tablePrefix });
    await other.log.fence(fenced);
    await assert.rejects(one.run(), FencedError);
    assert.is(await things(one), 0);
    assert.equal(await decisions(one), []);
    await one.run(undefined, 2);
    assert.is(await things(one), 1);
    assert.not.equal((await one.log.nodes())[0]!.incarnation, fenced);
  });

  test('who finds a tombstone commits nothing', async () => {
    const one = await open();
    const other = store.process({ tablePrefix });
    const error = await assert.rejects(
      one.run((txn) => other.log.settle({ gid: txn.id, incarnation: txn.id.split(':')[2]!, participants: [] })),
      DecisionFailedError,
    );
    assert.match(error.message, 'decided once');
    assert.is(await things(one), 0);
    assert.equal(await decisions(one), ['aborted']);
  });

  for (const isWritten of [true, false]) {
    test(`the reply to a commit that was${isWritten ? '' : ' not'} done is lost: the decision tells`, async () => {
      const one = await open();
      onText(store.proxy, commit(), (link) => {
        link.dropReplies = true;
        setTimeout(() => link.cut(), 200);
        return isWritten;
      });
      if (isWritten) assert.equal((await one.run()).outcome, { result: 'committed', way: 'last-resource' });
      else await assert.rejects(one.run(), DecisionFailedError);
      assert.is(await things(one), isWritten ? 1 : 0);
    });

    test(`the store can’t be reached any more when the commit was${isWritten ? '' : ' not'} done: what is prepared is held until it can`, async () => {
      const one = await open({ decisionTimeoutMs: 300 });
      onText(store.proxy, commit(), (link) => {
        store.proxy.refuse = link.dropReplies = true;
        setTimeout(() => store.proxy.cut(), 200);
        return isWritten;
      });
      const error = await assert.rejects(one.run(undefined, 3), InDoubtError);
      assert.equal(error.unfinished, ['memory']);
      const txn = one.current();
      assert.equal([txn.status, txn.attempt], ['in doubt', 1]);
      assert.is((await one.memory.listPrepared()).length, 1);
      store.proxy.refuse = false;
      await assert.eventually(() => one.coordinator.recover());
      assert.is(await txn.resolved, isWritten ? 'committed' : 'aborted');
      assert.is(await things(one), isWritten ? 1 : 0);
    });
  }

  test('a connection that is lost before the commit has committed nothing', async () => {
    const one = await open();
    await assert.rejects(
      one.run(() => {
        onText(store.proxy, isPg ? 'commit' : `insert into ${tablePrefix}decision`, (link) => {
          link.cut();
          return false;
        });
      }),
    );
    assert.is(await things(one), 0);
    await one.run(undefined, 3);
    assert.is(await things(one), 1);
  });

  test('a tombstone waits for a commit on its way, and says what that has become', async () => {
    const one = await open();
    const other = store.process({ tablePrefix });
    // The decision is inserted, and its commit is held back.
    if (isPg) {
      await store.rows(
        `create function ${tablePrefix}wait() returns trigger language plpgsql as 'begin perform pg_advisory_xact_lock(${tables}); return null; end';`,
      );
      await store.rows(
        `create constraint trigger wait after insert on ${tablePrefix}things deferrable initially deferred for each row execute function ${tablePrefix}wait()`,
      );
    }
    const gate = isPg ? await store.transaction(`select pg_advisory_xact_lock(${tables})`) : undefined;
    let letGo: (() => void) | undefined;
    if (!isPg) {
      onText(store.proxy, 'xa end', (link, data) => {
        letGo = () => void link.server.write(data);
        return false;
      });
    }
    const running = one.run();
    running.catch(() => undefined);
    await assert.eventually(async () => {
      if (!isPg) return letGo !== undefined;
      const waiting = await store.rows("select 1 from pg_locks where locktype = 'advisory' and not granted");
      return waiting.length === 1;
    });
    const { id } = one.current();
    const settled = other.log.settle({ gid: id, incarnation: id.split(':')[2]!, participants: [] });
    await new Promise((resolve) => setTimeout(resolve, 100));
    await gate?.commit();
    letGo?.();
    assert.is((await running).outcome!.result, 'committed');
    assert.is(await settled, 'committed');
    assert.is(await things(one), 1);
  });

  if (isWarm) {
    test('what writes it is parsed once for a connection, and travels with the commit', async () => {
      const one = await open();
      const sent: string[] = [];
      store.proxy.onClientData = (data) => void sent.push(data.toString('latin1'));
      const insert = `insert into ${tablePrefix}decision`;
      await one.run();
      assert.is(sent.filter((text) => text.includes(insert) && text.includes('commit')).length, 1);
      await store.rows(`delete from ${tablePrefix}things`);
      sent.length = 0;
      await one.run();
      store.proxy.onClientData = undefined;
      assert.equal(
        sent.filter((text) => text.includes(insert)),
        [],
      );
      assert.is(await things(one), 1);
      assert.equal((await decisions(one)).length >= 1, true);
    });

    test('where what was prepared is gone, it is tried again', async () => {
      const one = await open();
      await one.run();
      await store.rows(`delete from ${tablePrefix}things`);
      await store.rows(
        `create function ${tablePrefix}forget() returns void language plpgsql as $$ begin execute 'deallocate all'; end $$`,
      );
      let attempts = 0;
      await one.run(async () => {
        // By a function, so that it doesn't show.
        if (++attempts === 1) await one.query(`select ${tablePrefix}forget()`);
      }, 2);
      assert.is(attempts, 2);
      assert.is(await things(one), 1);
    });
  }

  if (isPg) {
    test('an error that the application’s own changes lead to at the commit is the one that the user gets', async () => {
      const one = await open();
      await store.rows(`create table ${tablePrefix}parents (id int primary key)`);
      await store.rows(
        `alter table ${tablePrefix}things add foreign key (id) references ${tablePrefix}parents deferrable initially deferred`,
      );
      await assert.rejects(one.run(), { code: '23503', table: `${tablePrefix}things` });
      assert.is(await things(one), 0);
      assert.equal(await decisions(one), []);
      assert.is(one.coordinator.current, undefined);
      await store.rows(`insert into ${tablePrefix}parents values (1)`);
      await one.run();
      assert.is(await things(one), 1);
    });

    test('a statement whose error was swallowed commits nothing, and no decision', async () => {
      const one = await open();
      await assert.rejects(
        one.run(() => one.query(`insert into ${tablePrefix}things values (1)`).catch(() => undefined)),
        { code: 'ERR_TXN_SILENT_ROLLBACK' },
      );
      assert.is(await things(one), 0);
      assert.equal(await decisions(one), []);
    });

    test('a transaction that sees the store as it was before can’t miss that it was fenced', async () => {
      const one = await open();
      const other = store.process({ tablePrefix });
      const fenced = (await one.log.nodes())[0]!.incarnation;
      for (const isolation of ['repeatable read', 'serializable'] as const) {
        const [before] = await one.log.nodes();
        await assert.rejects(
          one.coordinator.run(
            async () => {
              await one.query(`insert into ${tablePrefix}things values (1)`);
              one.memory.set('thing', 1);
              await other.log.fence(before!.incarnation);
            },
            { isolation, attempts: 1 },
          ),
        );
        assert.is(await things(one), 0);
        // Whatever it was told, it goes on after some attempts.
        await one.coordinator.run(
          async () => {
            await one.query(`insert into ${tablePrefix}things values (1)`);
            one.memory.set('thing', 1);
          },
          { isolation, attempts: 3, backoff: false },
        );
        assert.is(await things(one), 1);
        await store.rows(`delete from ${tablePrefix}things`);
        await one.coordinator.run(() => one.memory.delete('thing'));
      }
      assert.ok((await one.log.nodes()).every(({ incarnation }) => incarnation !== fenced));
    });
  }
}
