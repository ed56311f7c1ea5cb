// The crash matrix, from the decision's being sent to its being known: what stands in the store decides, whoever dies.
import { assert } from '../support/suite.ts';
import type { Batch } from './batch.ts';
import type { Case, Cell, Delayed } from './case.ts';
import type { Rival } from './databases.ts';
import { matrix } from './matrix.ts';

/** Where the decision goes with the commit of a branch of MariaDB, it is written before, and is there when that has committed. */
const isWrittenBefore = ({ path, store }: Cell): boolean => path === 'last resource' && store === 'MariaDB';

/** What must be prepared of a case when nobody has decided: all but what takes the decision along. */
const voters = ({ path }: Cell): ('a' | 'b')[] => (path === 'full' ? ['a', 'b'] : ['b']);

/** Starts the transactions, and waits until all decisions are on their way. */
async function delayDecisions(batch: Batch): Promise<Map<Case, Delayed>> {
  const onTheWay = new Map<Case, Delayed>();
  const sent = batch.each(async (one) => onTheWay.set(one, await one.delay('store', 'decide')));
  // MariaDB closes a connection that is silent for longer.
  batch.start({ preparedWaitSeconds: 600 });
  await sent;
  return onTheWay;
}

/** Nobody has touched what is prepared, and whoever prepared it may still decide. */
async function assertUntouched(one: Case, gid: string): Promise<void> {
  assert.is((await one.prepared('a', 'b')).length, voters(one.cell).length);
  assert.ok(
    (await one.nodes()).some((incarnation) => gid.includes(`:${incarnation}:`)),
    'it is not fenced',
  );
}

matrix('crashes while it is decided', [
  {
    row: 'decision sent, coordinator dead',
    what: 'it arrives before the fence',
    outcome: 'committed',
    async run(batch) {
      const onTheWay = await delayDecisions(batch);
      await batch.kill();
      await batch.each(async (one) => {
        await onTheWay.get(one)!.arrive();
        await one.untilDecided();
      });
      await batch.recover();
    },
  },
  {
    row: 'decision sent, coordinator dead',
    what: 'it arrives behind the fence, and is refused',
    outcome: 'aborted',
    cells: (cell) => !isWrittenBefore(cell),
    async run(batch) {
      const onTheWay = await delayDecisions(batch);
      await batch.kill();
      await batch.recover();
      await batch.each(async (one) => {
        await onTheWay.get(one)!.arrive();
        assert.equal(await one.decisions(), []);
        onTheWay.get(one)!.close();
      });
      await batch.recover();
    },
  },
  {
    row: 'decision sent, coordinator dead',
    what: 'it is written, and its commit on the way: the fence waits for that',
    outcome: 'committed',
    cells: isWrittenBefore,
    async run(batch) {
      const onTheWay = await delayDecisions(batch);
      await batch.kill();
      await batch.each(async (one) => {
        const { gid } = (await one.prepared('b'))[0]!;
        await one.expireLeases();
        await batch.passes(one, 1);
        await assertUntouched(one, gid);
        await onTheWay.get(one)!.arrive();
        await one.untilDecided();
      });
      await batch.recover();
    },
  },
  {
    row: 'decision sent, coordinator dead',
    what: 'it waits for a lock in the store, and the fence for it',
    // Whose statement it was is gone when that has its lock, and with it what was to commit it.
    outcome: (cell) => (isWrittenBefore(cell) ? 'aborted' : 'committed'),
    async run(batch) {
      await batch.startUntil('all prepared', { preparedWaitSeconds: 600 });
      const rivals = new Map<Case, { rival: Rival; gid: string }>();
      await batch.each(async (one) => {
        const gid = await one.at(batch.child, 'all prepared');
        const into = `${one.tablePrefix}decision`;
        const rival = await one.databases.store.begin(
          `insert into ${into} (gid, incarnation, outcome, participants) values ('${gid}', 'somebody', 'A', '[]')`,
        );
        rivals.set(one, { rival, gid });
      });
      batch.goOn();
      await batch.each((one) =>
        one.until('the decision must wait', async () =>
          (await one.databases.store.waiting()).some((text) => text.includes(`${one.tablePrefix}decision`)),
        ),
      );
      await batch.kill();
      await batch.each(async (one) => {
        const { rival, gid } = rivals.get(one)!;
        await one.expireLeases();
        await batch.passes(one, 1);
        await assertUntouched(one, gid);
        await rival.rollback();
        if (!isWrittenBefore(one.cell)) await one.untilDecided();
      });
      await batch.recover();
    },
  },
  {
    row: 'decision sent, coordinator dead',
    what: 'it is written, and nobody was told to follow',
    outcome: 'committed',
    async run(batch) {
      await batch.startUntil('decided');
      await batch.kill();
      await batch.recover();
    },
  },
  {
    row: 'decision sent, reply lost, alive',
    what: 'the link is cut when the store has it',
    outcome: 'committed',
    told: 'committed',
    async run(batch) {
      const lost = batch.each(async (one) => {
        const link = await one.lose('answer', 'store', 'decide');
        await one.untilDecided();
        link.cut();
      });
      batch.start();
      await lost;
      await batch.each((one) => one.told(batch.child));
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'decision sent, reply lost, alive',
    what: 'the store has it, and says nothing any more on this link',
    outcome: 'committed',
    told: 'committed',
    async run(batch) {
      const lost = batch.each((one) => one.lose('answer', 'store', 'decide'));
      batch.start({ endTimeoutMs: 1_500 });
      await lost;
      await batch.each((one) => one.told(batch.child));
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'decision sent, reply lost, alive',
    what: 'it never arrives, and the link is cut',
    outcome: 'aborted',
    told: 'aborted',
    async run(batch) {
      const lost = batch.each(async (one) => (await one.lose('message', 'store', 'decide')).cut());
      batch.start();
      await lost;
      await batch.each((one) => one.told(batch.child));
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'decision sent, reply lost, alive',
    what: 'the link is cut, and it arrives behind the tombstone, which refuses it',
    outcome: 'aborted',
    told: 'aborted',
    async run(batch) {
      const onTheWay = new Map<Case, Delayed>();
      const sent = batch.each(async (one) => onTheWay.set(one, await one.delay('store', 'decide')));
      batch.start({ preparedWaitSeconds: 600 });
      await sent;
      for (const delayed of onTheWay.values()) delayed.hangUp();
      await batch.each((one) => one.told(batch.child));
      await batch.each(async (one) => {
        await onTheWay.get(one)!.arrive();
        assert.equal(await one.decisions(), []);
      });
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'decision store unreachable',
    what: 'the store has the decision: held, and committed by this process when it is back',
    outcome: 'committed',
    told: 'in doubt',
    async run(batch) {
      await loseStore(batch, 'answer');
      await batch.each((one) => one.connect('store'));
      await batch.each(async (one) => assert.is(await one.resolved(batch.child), 'committed'));
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'decision store unreachable',
    what: 'the decision never arrived: held, and rolled back by this process when it is back',
    outcome: 'aborted',
    told: 'in doubt',
    async run(batch) {
      await loseStore(batch, 'message');
      await batch.each((one) => one.connect('store'));
      await batch.each(async (one) => assert.is(await one.resolved(batch.child), 'aborted'));
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'decision store unreachable',
    what: 'the store has the decision, and the coordinator that holds is killed',
    outcome: 'committed',
    told: 'in doubt',
    async run(batch) {
      await loseStore(batch, 'answer');
      await batch.kill();
      await batch.recover();
    },
  },
  {
    row: 'decision store unreachable',
    what: 'the store has the decision, and others, who reach it, take the coordinator that holds for dead',
    outcome: 'committed',
    told: 'in doubt',
    async run(batch) {
      await loseStore(batch, 'answer');
      await batch.recover();
      await batch.each((one) => one.connect('store'));
      // Others have followed the decision and deleted it, so this process can’t know.
      await batch.each(async (one) => assert.is(await one.resolved(batch.child), 'unknown'));
    },
  },
  {
    row: 'process paused past its lease',
    what: 'when all are prepared: it can’t decide any more, and works on under a new identity',
    outcome: 'aborted',
    told: 'aborted',
    async run(batch) {
      await batch.startUntil('all prepared');
      batch.child.pause();
      await batch.recover();
      batch.child.resume();
      batch.goOn();
      await batch.each((one) => one.told(batch.child));
      await batch.each((one) => one.worksAgain(batch.child));
      await batch.each((one) => one.untilClean());
    },
    check(one, batch) {
      const told = batch.child.words.filter((word) => word.is === 'told' && word.id === one.id);
      assert.ok(JSON.stringify(told).includes('ERR_TXN_FENCED'), `it is told why: ${JSON.stringify(told)}`);
    },
  },
  {
    row: 'database killed',
    what: 'all of them before the votes, the coordinator lives',
    outcome: 'aborted',
    told: 'aborted',
    async run(batch) {
      await batch.startUntil('before the votes');
      await batch.crash(({ databases }) => Object.values(databases));
      batch.goOn();
      await batch.each((one) => one.told(batch.child));
      await batch.each((one) => one.worksAgain(batch.child));
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'database killed',
    what: 'those that are prepared, the coordinator lives and decides',
    outcome: 'committed',
    told: 'committed',
    async run(batch) {
      await batch.startUntil('all prepared', { decisionTimeoutMs: 60_000 });
      await batch.crash(({ cell, databases }) => voters(cell).map((where) => databases[where]));
      batch.goOn();
      await batch.each((one) => one.told(batch.child));
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'database killed',
    what: 'all of them when all are prepared, and the coordinator',
    outcome: 'aborted',
    async run(batch) {
      await batch.startUntil('all prepared');
      await batch.kill();
      await batch.crash(({ databases }) => Object.values(databases));
      await batch.recover();
    },
  },
  {
    row: 'database killed',
    what: 'the store, when it has the decision and has not answered, the coordinator lives',
    outcome: 'committed',
    told: 'committed',
    async run(batch) {
      const lost = batch.each(async (one) => {
        await one.lose('answer', 'store', 'decide');
        await one.untilDecided();
      });
      batch.start({ decisionTimeoutMs: 60_000 });
      await lost;
      await batch.crash(({ databases }) => [databases.store]);
      await batch.each((one) => one.told(batch.child));
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'database killed',
    what: 'the store, before the decision arrives, the coordinator lives',
    outcome: 'aborted',
    told: 'aborted',
    async run(batch) {
      const lost = batch.each((one) => one.lose('message', 'store', 'decide'));
      batch.start({ decisionTimeoutMs: 60_000 });
      await lost;
      await batch.crash(({ databases }) => [databases.store]);
      await batch.each((one) => one.told(batch.child));
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'database killed',
    what: 'the store, when it has the decision and has not answered, and the coordinator',
    outcome: 'committed',
    async run(batch) {
      const lost = batch.each(async (one) => {
        await one.lose('answer', 'store', 'decide');
        await one.untilDecided();
      });
      batch.start();
      await lost;
      await batch.kill();
      await batch.crash(({ databases }) => [databases.store]);
      await batch.recover();
    },
  },
]);

/** The store is gone when the decision is sent, and the caller is told that it is in doubt; what is prepared stays. */
async function loseStore(batch: Batch, what: 'message' | 'answer'): Promise<void> {
  const lost = batch.each(async (one) => {
    await one.lose(what, 'store', 'decide');
    if (what === 'answer') await one.untilDecided();
    one.cutOff('store');
  });
  batch.start({ decisionTimeoutMs: 300, preparedWaitSeconds: 600 });
  await lost;
  await batch.each(async (one) => {
    await one.told(batch.child);
    assert.is((await one.prepared('a', 'b')).length, voters(one.cell).length, 'what is prepared is held');
  });
}
