// The crash matrix, behind the decision: all follow it in the end, whoever dies, and whoever recovers.
import { assert } from '../support/suite.ts';
import type { Batch } from './batch.ts';
import type { Case, Cell, Delayed } from './case.ts';
import type { Child } from './child.ts';
import { matrix } from './matrix.ts';

/** Those that follow: all but what took the decision along. */
const followers = ({ path }: Cell): ('a' | 'b')[] => (path === 'full' ? ['a', 'b'] : ['b']);

/** A PostgreSQL that follows: it can be asked afterwards how a transaction ended, and MySQL can't. */
const askable = ({ path, a, b }: Cell): 'a' | 'b' | undefined =>
  b === 'PostgreSQL' ? 'b' : path === 'full' && a === 'PostgreSQL' ? 'a' : undefined;

/** Somebody ends what is prepared past everybody. */
function endByHand(one: Case, verb: 'commit' | 'rollback'): Promise<void> {
  const where = askable(one.cell)!;
  return one.prepared(where).then(async ([branch]) => {
    await one.databases[where].rows(`${verb} prepared '${branch!.gid}:${branch!.resource}'`);
  });
}

/** Whether anybody was told of a heuristic outcome. */
function assertReported(one: Case, batch: Batch): void {
  const words = JSON.stringify(batch.child.words.filter(({ name }) => name === one.name));
  assert.ok(words.includes('ERR_TXN_HEURISTIC'), `a heuristic outcome must be told: ${words}`);
}

/** The coordinator is killed, and so is the first one that recovers, when it has sent what ends a branch. */
async function killRecoverer(batch: Batch, verb: 'follow' | 'undo'): Promise<Map<Case, Delayed>> {
  await batch.kill();
  const onTheWay = new Map<Case, Delayed>();
  const sent = batch.each(async (one) => onTheWay.set(one, await one.delay('b', verb)));
  const recoverer = batch.recoverer();
  await sent;
  await recoverer.kill();
  return onTheWay;
}

/** What a recoverer that is dead by now has sent arrives behind what another has done. */
async function arriveLate(batch: Batch, onTheWay: ReadonlyMap<Case, Delayed>): Promise<void> {
  await batch.each(async (one) => {
    await onTheWay.get(one)!.arrive();
    onTheWay.get(one)!.close();
  });
}

matrix('crashes behind the decision', [
  {
    row: 'after the decision',
    what: 'the coordinator is killed when one of several has followed',
    outcome: 'committed',
    cells: ({ path }) => path === 'full',
    async run(batch) {
      const lost = batch.each(async (one) => {
        await one.lose('message', 'b', 'follow');
        await one.until('a must have followed', async () => (await one.prepared('a')).length === 0);
      });
      // Nobody is told of it before all have come to that.
      batch.start({ resolveTimeoutMs: 60_000 });
      await lost;
      await batch.kill();
      await batch.recover();
    },
  },
  {
    row: 'after the decision',
    what: 'the coordinator is killed when all have followed, and the decision stands',
    outcome: 'committed',
    async run(batch) {
      await batch.startUntil('followed');
      await batch.each(async (one) => assert.is((await one.decisions()).length, 1));
      await batch.kill();
      await batch.recover();
    },
  },
  {
    row: 'after the decision',
    what: 'the reply of COMMIT PREPARED is lost, the coordinator lives',
    outcome: 'committed',
    told: 'committed',
    async run(batch) {
      const lost = batch.each(async (one) => {
        const link = await one.lose('answer', 'b', 'follow');
        await one.until('b must have followed', async () => (await one.prepared('b')).length === 0);
        link.cut();
      });
      batch.start();
      await lost;
      await batch.each((one) => one.told(batch.child));
      await batch.each((one) => one.untilClean());
    },
    async check(one, batch) {
      assert.equal((await one.told(batch.child)).pending, []);
    },
  },
  {
    row: 'after the decision',
    what: 'the reply of COMMIT PREPARED is lost, and the coordinator killed',
    outcome: 'committed',
    async run(batch) {
      const lost = batch.each(async (one) => {
        await one.lose('answer', 'b', 'follow');
        await one.until('b must have followed', async () => (await one.prepared('b')).length === 0);
      });
      batch.start();
      await lost;
      await batch.kill();
      await batch.recover();
    },
  },
  {
    row: 'after the decision',
    what: 'the coordinator is killed while COMMIT PREPARED is on its way, which arrives when others have recovered',
    outcome: 'committed',
    async run(batch) {
      const onTheWay = new Map<Case, Delayed>();
      const sent = batch.each(async (one) => onTheWay.set(one, await one.delay('b', 'follow')));
      batch.start({ preparedWaitSeconds: 600 });
      await sent;
      await batch.kill();
      await batch.recover();
      await arriveLate(batch, onTheWay);
    },
  },
  {
    row: 'after the decision',
    what: 'the coordinator is killed and all is recovered at once: no restart of the databases brings anything back',
    outcome: 'committed',
    async run(batch) {
      await batch.startUntil('decided');
      await batch.kill();
      // MariaDB is still closing the connections that have prepared.
      await batch.each((one) => one.expireLeases());
      await batch.recover();
      await batch.crash(({ databases }) => Object.values(databases));
    },
  },
  {
    row: 'a participant down in phase two',
    what: 'the caller is told that it has committed, and this process goes on as soon as it is there',
    outcome: 'committed',
    told: 'committed',
    async run(batch) {
      await loseParticipant(batch);
      await batch.each((one) => one.connect('b'));
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'a participant down in phase two',
    what: 'the caller is told that it has committed, the process dies, and others keep the decision until they reach it',
    outcome: 'committed',
    told: 'committed',
    async run(batch) {
      await loseParticipant(batch);
      await batch.kill();
      await batch.each(async (one) => {
        await one.expireLeases();
        await batch.passes(one, 2, { throughProxies: true });
        assert.is((await one.decisions()).length, 1, 'the decision stands until all have followed');
      });
      await batch.recover();
    },
  },
  {
    row: 'database killed',
    what: 'those that must follow are down in phase two, the coordinator lives',
    outcome: 'committed',
    told: 'committed',
    async run(batch) {
      await batch.startUntil('decided', { resolveTimeoutMs: 500 });
      await batch.crash(
        ({ cell, databases }) => followers(cell).map((where) => databases[where]),
        async () => {
          batch.goOn();
          await batch.each(async (one) => {
            assert.equal((await one.told(batch.child)).pending, followers(one.cell));
          });
        },
      );
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'database killed',
    what: 'all of them behind the decision, and the coordinator',
    outcome: 'committed',
    async run(batch) {
      await batch.startUntil('decided');
      await batch.kill();
      await batch.crash(({ databases }) => Object.values(databases));
      await batch.recover();
    },
  },
  {
    row: 'process paused past its lease',
    what: 'behind its decision: others commit it, its own second phase does no harm, and it works on',
    outcome: 'committed',
    told: 'committed',
    async run(batch) {
      await batch.startUntil('decided');
      batch.child.pause();
      await batch.recover();
      batch.child.resume();
      batch.goOn();
      await batch.each((one) => one.told(batch.child));
      await batch.each((one) => one.worksAgain(batch.child));
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'the recovering process dies',
    what: 'while its COMMIT PREPARED is on the way, which arrives when another has recovered',
    outcome: 'committed',
    async run(batch) {
      await batch.startUntil('decided');
      const onTheWay = await killRecoverer(batch, 'follow');
      await batch.each(async (one) => {
        assert.is((await one.prepared('b')).length, 1);
        assert.is((await one.decisions()).length, 1);
      });
      await batch.recover();
      await arriveLate(batch, onTheWay);
    },
  },
  {
    row: 'the recovering process dies',
    what: 'while its ROLLBACK PREPARED is on the way, which arrives when another has recovered',
    outcome: 'aborted',
    async run(batch) {
      await batch.startUntil('all prepared');
      const onTheWay = await killRecoverer(batch, 'undo');
      await batch.recover();
      await arriveLate(batch, onTheWay);
    },
  },
  {
    row: 'the recovering process dies',
    what: 'when its COMMIT PREPARED is done and it has not heard so',
    outcome: 'committed',
    async run(batch) {
      await batch.startUntil('decided');
      await batch.kill();
      const lost = batch.each(async (one) => {
        await one.lose('answer', 'b', 'follow');
        await one.until('b must have followed', async () => (await one.prepared('b')).length === 0);
      });
      const recoverer = batch.recoverer();
      await lost;
      await recoverer.kill();
      await batch.recover();
    },
  },
  {
    row: 'two recover at once',
    what: 'and one of them is killed while it does: the other one ends it alone',
    outcome: 'committed',
    async run(batch) {
      await batch.startUntil('decided');
      await batch.kill();
      const sent = batch.each((one) => one.lose('message', 'b', 'follow'));
      const recoverers: Child[] = [batch.recoverer(), batch.recoverer()];
      await sent;
      await recoverers[0]!.kill();
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'a branch forced by hand',
    what: 'rolled back behind the decision: the caller is told, and it is in doubt',
    outcome: 'committed',
    told: 'in doubt',
    isForced: true,
    cells: (cell) => askable(cell) !== undefined,
    async run(batch) {
      await batch.startUntil('decided');
      await batch.each((one) => endByHand(one, 'rollback'));
      batch.goOn();
      await batch.each((one) => one.told(batch.child));
    },
    check: assertReported,
  },
  {
    row: 'a branch forced by hand',
    what: 'committed before the decision, which is to roll back: it is reported',
    outcome: 'aborted',
    told: 'aborted',
    isForced: true,
    cells: (cell) => askable(cell) !== undefined,
    async run(batch) {
      await batch.startUntil('voted no', { votesNo: true });
      await batch.each((one) => endByHand(one, 'commit'));
      batch.goOn();
      await batch.each((one) => one.told(batch.child));
    },
    check: assertReported,
  },
]);

/** A participant is not to be reached any more when it is to follow; the caller is told that it has committed, and who hasn't followed. */
async function loseParticipant(batch: Batch): Promise<void> {
  // Else MariaDB might close the connection of the other one meanwhile.
  await batch.startUntil('decided', { resolveTimeoutMs: 500, preparedWaitSeconds: 600 });
  await batch.each((one) => one.cutOff('b'));
  batch.goOn();
  await batch.each(async (one) => {
    assert.equal((await one.told(batch.child)).pending, ['b']);
    assert.is((await one.prepared('b')).length, 1);
    assert.is((await one.decisions()).length, 1, 'the decision stands until all have followed');
  });
}
