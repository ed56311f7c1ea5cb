// Protects what a process that is killed leaves: the files as they were before the vote ended, whole ones at any time, and beside
// them nothing but staged files that are known as such.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { transaction } from 'unanimous';
import { FileSession } from 'unanimous/files';
import { NODE_ARGUMENTS, program } from '../../support/program.ts';
import { assert, suite } from '../../support/suite.ts';
import { Folder } from './setup.ts';

const test = suite('files of a process that is killed', { timeoutMs: 60_000 });

let folder: Folder;
let files: FileSession;
let child: ChildProcess | undefined;
test.before.each(async () => {
  folder = await Folder.open({ a: 'a', b: 'b', e: 'e' });
  files = new FileSession({ root: folder.path });
});
test.after.each(async () => {
  if (child !== undefined) await kill();
  await folder.remove();
});

/** Starts dying.ts; the lines that it says. */
function start(how: 'vote' | 'for ever'): AsyncIterator<string> {
  const script = program(join(import.meta.dirname, 'dying.ts'));
  child = spawn(process.execPath, [...NODE_ARGUMENTS, script, how, folder.path], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  return createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
}

async function kill(): Promise<void> {
  const dying = child!;
  child = undefined;
  const closed = once(dying, 'exit');
  dying.kill('SIGKILL');
  await closed;
}

test('between the vote and the end: the files are untouched, and what was staged can be told, looked at and removed', async () => {
  const lines = start('vote');
  const { value: xid } = (await lines.next()) as { value: string };
  await kill();

  const staged = await files.listStaged();
  assert.equal(
    new Set(staged.map((file) => [file.xid, file.target].join(' '))),
    new Set([`${xid} ${folder.join('a')}`, `${xid} ${folder.join('d')}`]),
  );
  const content = await folder.content();
  for (const { path } of staged) delete content[path.slice(folder.path.length + 1)];
  assert.equal(content, { a: 'a', b: 'b', e: 'e' });

  // The files are free for others, and what is left is in nobody's way.
  await transaction.run(() => files.writeFile('e', 'next'));
  // Whoever finds out that it has committed can put it in place.
  const first = staged.find(({ target }) => target === folder.join('a'))!;
  await rename(first.path, first.target!);
  assert.is(await readFile(folder.join('a'), 'utf8'), 'changed');
  // And whoever finds out that it hasn't removes it.
  assert.equal(await files.cleanUp({ isCommitted: () => true, olderThanMs: 0 }), []);
  const removed = await files.cleanUp({ isCommitted: (id) => id !== xid, olderThanMs: 0 });
  assert.equal(removed.length, 1);
  assert.equal(await folder.content(), { a: 'changed', b: 'b', e: 'next' });
});

test('at any time: each file is whole, old or new, and everything beside them is a staged file', async () => {
  for (let time = 0; time < 6; time++) {
    await rm(folder.path, { recursive: true });
    folder = await Folder.open({ a: '-'.repeat(300_000), b: '-'.repeat(300_000), c: 'c' });
    files = new FileSession({ root: folder.path });
    const lines = start('for ever');
    await lines.next();
    await sleep(Math.random() * 40);
    await kill();

    const staged = new Set((await files.listStaged()).map(({ path }) => path));
    for (const [name, content] of Object.entries(await folder.content())) {
      if (staged.has(folder.join(name))) continue;
      assert.ok(['a', 'b', 'c', 'd'].includes(name), name);
      if (name === 'c' || name === 'd') assert.is(content, 'c');
      else assert.ok(/^(.)\1{299999}$/.test(content!), `${name} is whole`);
    }
    const { c, d } = await folder.content();
    assert.is([c, d].filter((each) => each !== undefined).length, 1, 'a renamed file is in one place');
  }
});
