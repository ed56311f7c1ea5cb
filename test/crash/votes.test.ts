// The crash matrix, up to the decision: whatever happens before it is written, everything is rolled back.
import { assert } from '../support/suite.ts';
import type { Case, Delayed } from './case.ts';
import { matrix } from './matrix.ts';

matrix('crashes before the decision', [
  {
    row: 'before PREPARE',
    what: 'the coordinator is killed',
    outcome: 'aborted',
    async run(batch) {
      await batch.startUntil('before the votes');
      await batch.kill();
      await batch.recover();
    },
  },
  {
    row: 'PREPARE sent, reply lost',
    what: 'the link is cut, the coordinator lives',
    outcome: 'aborted',
    told: 'aborted',
    async run(batch) {
      const lost = batch.each(async (one) => {
        const link = await one.lose('answer', 'b', 'prepare');
        await one.untilPrepared('b');
        link.cut();
      });
      batch.start();
      await lost;
      await batch.each((one) => one.told(batch.child));
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'PREPARE sent, reply lost',
    what: 'it never arrives, and the link is cut, the coordinator lives',
    outcome: 'aborted',
    told: 'aborted',
    async run(batch) {
      const lost = batch.each(async (one) => (await one.lose('message', 'b', 'prepare')).cut());
      batch.start();
      await lost;
      await batch.each((one) => one.told(batch.child));
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'PREPARE sent, reply lost',
    what: 'the coordinator is killed',
    outcome: 'aborted',
    async run(batch) {
      const lost = batch.each(async (one) => {
        await one.lose('answer', 'b', 'prepare');
        await one.untilPrepared('b');
      });
      batch.start();
      await lost;
      await batch.kill();
      await batch.recover();
    },
  },
  {
    row: 'PREPARE sent, reply lost',
    what: 'the coordinator is killed, and it lands when all is recovered already',
    outcome: 'aborted',
    async run(batch) {
      const onTheWay = new Map<Case, Delayed>();
      const sent = batch.each(async (one) => onTheWay.set(one, await one.delay('b', 'prepare')));
      // MariaDB closes a connection that is silent for longer, and then nothing can land.
      batch.start({ preparedWaitSeconds: 600 });
      await sent;
      await batch.kill();
      await batch.recover();
      await batch.each(async (one) => {
        assert.equal(await one.prepared('b'), []);
        await onTheWay.get(one)!.arrive();
        await one.untilPrepared('b');
        onTheWay.get(one)!.close();
      });
      await batch.recover();
    },
  },
  {
    row: 'some voted no',
    what: 'all others are prepared, the coordinator lives',
    outcome: 'aborted',
    told: 'aborted',
    async run(batch) {
      batch.start({ votesNo: true });
      await batch.each((one) => one.told(batch.child));
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'some voted no',
    what: 'the link to one that is prepared is cut, the coordinator lives',
    outcome: 'aborted',
    told: 'aborted',
    async run(batch) {
      await batch.startUntil('voted no', { votesNo: true });
      await batch.each((one) => one.cutOff('b'));
      batch.goOn();
      await batch.each((one) => one.told(batch.child));
      await batch.each(async (one) => {
        assert.is((await one.prepared('b')).length, 1);
        one.connect('b');
      });
      await batch.each((one) => one.untilClean());
    },
  },
  {
    row: 'some voted no',
    what: 'the coordinator is killed before it has rolled back',
    outcome: 'aborted',
    async run(batch) {
      await batch.startUntil('voted no', { votesNo: true });
      await batch.kill();
      await batch.recover();
    },
  },
  {
    row: 'all prepared, no decision',
    what: 'the coordinator is killed',
    outcome: 'aborted',
    async run(batch) {
      await batch.startUntil('all prepared');
      await batch.kill();
      await batch.recover();
    },
  },
  {
    row: 'all prepared, no decision',
    what: 'nobody touches it while the coordinator’s lease lasts, which then dies',
    outcome: 'aborted',
    async run(batch) {
      await batch.startUntil('all prepared', { leaseMs: 60_000 });
      await batch.each((one) => batch.passes(one, 3));
      // Its lease has not run out, so it counts as alive: nothing is touched.
      await batch.each(async (one) => {
        const expected = one.cell.path === 'full' ? 2 : 1;
        assert.is((await one.prepared('a', 'b')).length, expected);
      });
      await batch.kill();
      await batch.each((one) => one.expireLeases());
      await batch.recover();
    },
  },
]);
