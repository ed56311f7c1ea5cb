// Protects who looks with npx unanimous for what dead processes have left, and ends it: what is shown is what is there, every end is the same in
// all databases, nothing contradicts a decision, and the exit code says whether somebody is needed.
import { assert, suite } from '../support/suite.ts';
import { ended } from './setup.ts';
import { audit, bank, clear, project, query, stock, stored, world } from './world.ts';

const test = suite('npx unanimous, in doubt', { timeoutMs: 120_000 });
test.after(clear);

test('a store that is not there is not made by looking, but by init, and is looked at then', async () => {
  await world({ bank, stock });
  for (const command of ['status', 'list', 'recover']) {
    assert.match(ended(await project.run(command), 2).err, 'npx unanimous init makes it');
  }
  const made = ended(await project.run('init'), 0);
  assert.match(made.out, /the decision store is made: identity [0-9a-f]{10}\nbank is ready\nstock is ready\n/);
  const again = ended(await project.run('init', '--json'), 0).json;
  assert.equal([again.wasMade, again.resources.length], [false, 2]);
  const status = ended(await project.run('status'), 0).out;
  assert.match(status, again.store);
  assert.match(status, /bank +postgres:\/\/\S+ +0 +- +\d+ of \d+ used/);
  assert.match(status, /stock +mysql:\/\/\S+ +0 +- +no limit/);
  assert.match(status, 'no process is registered');
  assert.match(ended(await project.run('list'), 0).out, 'nothing is prepared and nothing is decided');
  assert.match(ended(await project.run('recover'), 0).out, 'recovery found nothing to end');
});

test('what a dead process had decided, over PostgreSQL and MariaDB and in a store there, can only be committed', async () => {
  const { start, configure, silence } = await world({ bank, stock }, 'mariadb');
  const process = await start('decided');
  const { gid } = process;
  await process.kill();
  await silence(gid);
  const shown = ended(await project.run('show', `${gid}:bank`), 1).out;
  assert.match(shown, /decision +commit, \S+ \S+; to be followed by bank and stock\n/);
  assert.match(shown, /prepared +bank, for \d+ m?s\n/);
  assert.match(shown, /prepared +stock, for how long its server doesn't tell\n/);
  assert.match(ended(await project.run('abort', gid, '--force'), 4).err, 'was decided to be committed');

  // The server lists what is prepared there under whatever name.
  await configure({ bank, wrong: stock });
  const strange = ended(await project.run('list'), 1).out;
  assert.match(strange, 'what is prepared under the name stock is of no resource configured here');
  await configure();

  const committed = ended(await project.run('commit', gid), 0).out;
  assert.match(committed, 'committed stock\n');
  assert.match(committed, 'committed bank\n');
  assert.equal(await stored(gid, [bank, stock]), [1, 1]);
  assert.match(ended(await project.run('list'), 0).out, 'and all have followed');
  ended(await project.run('recover'), 0);
  const { decision, actions } = ended(await project.run('show', gid, '--json'), 0).json;
  assert.is(decision, null);
  assert.equal(
    actions.map((each: any) => [each.action, each.forced]),
    [['commit', false]],
  );
});

test('recover ends what dead processes have left: what was decided is committed, the rest is rolled back', async () => {
  const { start, silence } = await world({ bank, stock });
  const [undecided, decided] = [await start('undecided'), await start('decided')];
  for (const process of [undecided, decided]) {
    await process.kill();
    await silence(process.gid);
  }
  const before = ended(await project.run('status', '--json'), 1).json;
  assert.equal(before.inDoubt.toSorted(), [undecided.gid, decided.gid].toSorted());
  const { json } = ended(await project.run('recover', '--json'), 0);
  assert.equal([json.fenced.length, json.committed.length, json.rolledBack.length, json.transactions], [2, 2, 2, []]);
  assert.equal(await stored(undecided.gid, [bank, stock]), [0, 0]);
  assert.equal(await stored(decided.gid, [bank, stock]), [1, 1]);
});

test('an abort by hand of what a dead process has not decided needs no force', async () => {
  const { start, silence } = await world({ bank, audit });
  const process = await start('undecided');
  await process.kill();
  await silence(process.gid);
  const { json } = ended(await project.run('abort', process.gid, '--json'), 0);
  assert.equal([json.decision.outcome, json.prepared, json.actions], ['aborted', [], undefined]);
  assert.match(ended(await project.run('list'), 0).out, 'that stays for as long as its process is registered');
  assert.equal(await stored(process.gid, [bank, audit]), [0, 0]);
});

test('where nobody can decide any more, an abort is only recorded, and a commit says that it may be half, and is recorded as forced', async () => {
  const { start, store } = await world({ bank, audit });
  const [one, other] = [await start('undecided'), await start('undecided')];
  await Promise.all([one.kill(), other.kill()]);
  await query(store, 'delete from unanimous_node');
  const { gid } = one;
  assert.match(ended(await project.run('list'), 1).out, 'so it counts as rolled back');
  assert.match(ended(await project.run('commit', gid), 4).err, `to roll it back: npx unanimous recover`);
  const committed = ended(await project.run('commit', gid, '--force'), 0).out;
  assert.match(committed, 'recovery may have rolled some of it back before');
  assert.match(ended(await project.run('show', gid), 0).out, /by hand +commit by \S+, .*, forced\n/);
  assert.equal(await stored(gid, [bank, audit]), [1, 1]);

  const aborted = ended(await project.run('abort', other.gid), 0).out;
  assert.match(aborted, 'is not decided and its process is gone, so it counts as rolled back');
  assert.match(ended(await project.run('show', other.gid), 0).out, /decision +none\n.*\nby hand +abort by /s);
  assert.equal(await stored(other.gid, [bank, audit]), [0, 0]);
});

test('a resource that can’t be reached is told, and what it has to follow is kept until it can be', async () => {
  const { start, configure, silence } = await world({ bank, audit });
  const process = await start('decided');
  const { gid } = process;
  await process.kill();
  await silence(gid);
  await configure({ bank, audit: 'postgres://127.0.0.1:1/audit' });
  const list = ended(await project.run('list'), 3).out;
  assert.match(list, /audit can't be asked, so what is prepared there isn't shown: .*ECONNREFUSED/);
  assert.match(ended(await project.run('status'), 3).out, /audit +\S+ +\? +- +can't be asked: .*ECONNREFUSED/);
  const committed = ended(await project.run('commit', gid), 3).out;
  assert.match(committed, 'committed bank\n');
  assert.match(committed, 'what is prepared there is ended by recovery, once it can be reached');
  assert.match(ended(await project.run('recover'), 3).out, /failed +audit +.*ECONNREFUSED/);
  assert.match(ended(await project.run('list', '--json'), 3).json.transactions[0].reason, "audit can't be reached");
  assert.match(ended(await project.run('forget', gid), 4).err, "audit can't be asked");
  await configure();
  const recovered = ended(await project.run('recover'), 0).out;
  assert.match(recovered, `committed    ${gid}  audit`);
  assert.equal(await stored(gid, [bank, audit]), [1, 1]);
});

test('a decision is forgotten only where nothing is prepared, and by force where a participant is not known here', async () => {
  const { start, configure, silence } = await world({ bank, audit });
  const process = await start('decided');
  const { gid } = process;
  assert.match(ended(await project.run('forget', gid, '--force'), 4).err, /audit and bank .* would roll it back/);
  assert.is(await process.goOn(), 'committed');
  await process.kill();

  const dead = await start('decided');
  await dead.kill();
  await silence(dead.gid);
  await configure({ bank });
  ended(await project.run('recover'), 1);
  const { transactions } = ended(await project.run('list', '--json'), 1).json;
  const left = transactions.find((each: any) => each.gid === dead.gid);
  assert.match(left.reason, "audit, which must follow, isn't configured here");
  assert.match(ended(await project.run('forget', dead.gid), 4).err, "isn't configured here");
  assert.match(ended(await project.run('forget', dead.gid, '--force'), 0).out, 'forgotten, and written down');
  assert.match(ended(await project.run('forget', dead.gid), 0).out, 'nothing to forget');
  assert.match(ended(await project.run('show', dead.gid), 0).out, /by hand +forget by .*, forced/);
});

test('an id that is none, or of another application or store, is refused', async () => {
  const { start } = await world({ bank, audit });
  const process = await start('undecided');
  const [, store, incarnation] = process.gid.split(':');
  assert.match(ended(await project.run('show', 'everything'), 2).err, 'app:store:incarnation:sequence');
  const wrong = [`shop:${store}x:${incarnation}:1`, `other:${store}:${incarnation}:1`];
  for (const gid of wrong) {
    for (const command of ['show', 'commit', 'abort', 'forget']) {
      assert.match(ended(await project.say(command, gid), 2).err, `this is about the app shop and the store ${store}`);
    }
  }
  assert.match(
    ended(await project.run('status', '--app', 'other'), 0).out,
    'bank has something prepared of shop, in the same store',
  );
  await process.kill();
});
