// Protects processes that live, or are paused and wake, from npx unanimous: nothing is done to them without force, and what is decided by hand is
// what they find when they decide.
import { assert, suite } from '../support/suite.ts';
import { ended } from './setup.ts';
import { audit, bank, clear, project, stock, stored, world } from './world.ts';

const test = suite('npx unanimous and the living', { timeoutMs: 120_000 });
test.after(clear);

test('what a living process is at is under way: nothing is in doubt, and nothing is done to it without force', async () => {
  const { start } = await world({ bank, audit });
  const process = await start('undecided');
  const { gid } = process;
  const list = ended(await project.run('list'), 0).out;
  assert.match(
    list,
    new RegExp(`${gid} +web1 +\\d+ m?s +audit, bank +none\n    under way: it is not decided, and its process is alive`),
  );
  const status = ended(await project.run('status', '--json'), 0).json;
  assert.equal([status.transactions, status.inDoubt], [1, []]);
  assert.equal([status.nodes[0].node, status.nodes[0].isExpired], ['web1', false]);
  assert.match(ended(await project.run('recover'), 0).out, 'recovery found nothing to end');
  assert.match(ended(await project.run('abort', gid), 4).err, 'is alive (web1), and may still decide');
  const commit = ended(await project.run('commit', gid), 4).err;
  assert.match(commit, 'prepared: audit, bank; not prepared: none of the resources');
  assert.match(commit, `npx unanimous abort ${gid} --force`);
  assert.match(ended(await project.run('forget', gid, '--force'), 4).err, 'would roll it back');

  const aborted = ended(await project.run('abort', gid, '--force'), 0).out;
  assert.match(aborted, 'this decides that it is rolled back');
  assert.match(aborted, 'nothing of it is left prepared');
  assert.match(
    ended(await project.run('commit', gid, '--force'), 4).err,
    /was decided to be rolled back .*\n +by hand: abort by \S+@\S+, .*, forced/,
  );
  assert.is(await process.goOn(), 'DecisionFailedError');
  assert.equal(await stored(gid, [bank, audit]), [0, 0]);
  await process.kill();
});

test('what the connection of a living process holds, as in MariaDB, is ended too, and that process finds it decided', async () => {
  const { start } = await world({ bank, stock });
  const process = await start('undecided');
  const { gid } = process;
  const aborted = ended(await project.run('abort', gid, '--force'), 0).out;
  assert.match(aborted, 'rolled back bank\n');
  assert.match(aborted, 'rolled back stock\n');
  assert.match(aborted, 'nothing of it is left prepared');
  assert.is(await process.goOn(), 'DecisionFailedError');
  const { json } = ended(await project.run('show', gid, '--json'), 0);
  assert.equal([json.decision.outcome, json.prepared], ['aborted', []]);
  assert.equal(await stored(gid, [bank, stock]), [0, 0]);
  await process.kill();
});

test('a paused process whose transaction is committed by hand follows when it wakes, and does not do it again', async () => {
  const { start, silence } = await world({ bank, audit });
  const process = await start('undecided');
  const { gid } = process;
  process.pause();
  await silence(gid);
  const list = ended(await project.run('list'), 1).out;
  assert.match(list, 'web1 (silent)');
  assert.match(
    list,
    'next: npx unanimous recover takes its right to decide away and rolls audit and bank back, unless it decides before',
  );
  assert.match(ended(await project.run('commit', gid), 4).err, 'to roll it back: npx unanimous recover');
  const committed = ended(await project.run('commit', gid, '--force', '--json'), 0).json;
  assert.equal([committed.decision.outcome, committed.prepared, committed.failures], ['committed', [], []]);
  process.resume();
  assert.is(await process.goOn(), 'committed');
  assert.equal(await stored(gid, [bank, audit]), [1, 1]);
  await process.kill();
});

test('a paused process that recovery takes for dead can decide nothing when it wakes', async () => {
  const { start, silence } = await world({ bank, audit });
  const process = await start('undecided');
  const { gid } = process;
  process.pause();
  await silence(gid);
  const recovered = ended(await project.run('recover'), 0).out;
  assert.match(recovered, `rolled back  ${gid}  bank`);
  assert.match(recovered, `rolled back  ${gid}  audit`);
  assert.match(recovered, 'not allowed to decide any more');
  process.resume();
  assert.is(await process.goOn(), 'FencedError');
  assert.match(ended(await project.run('commit', gid, '--force'), 4).err, 'nothing of');
  assert.match(ended(await project.run('abort', gid), 0).out, 'it has ended, and nothing was done');
  assert.equal(await stored(gid, [bank, audit]), [0, 0]);
  await process.kill();
});

test('the decision of a registered process is forgotten by force, and the process can decide nothing afterwards', async () => {
  const { start } = await world({ bank, audit });
  const process = await start('undecided');
  const { gid } = process;
  ended(await project.run('abort', gid, '--force'), 0);
  assert.match(ended(await project.run('forget', gid), 4).err, 'is registered (web1), and may need the decision');
  assert.match(ended(await project.run('forget', gid, '--force'), 0).out, 'was taken its right to decide');
  assert.is(await process.goOn(), 'FencedError');
  assert.equal(await stored(gid, [bank, audit]), [0, 0]);
  await process.kill();
});
