// Protects files in what seldom happens: data that can't be written, paths that are no text, and staged files of the same time.
import { mkdir, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { ConfigurationError, register, transaction } from 'unanimous';
import { FileSession } from 'unanimous/files';
import { assert, suite } from '../../support/suite.ts';
import { Folder } from './setup.ts';

const test = suite('what seldom happens to files');

let folder: Folder;
let files: FileSession;
test.before.each(async () => {
  folder = await Folder.open({ a: 'a' });
  files = register(new FileSession({ root: folder.path }));
});
test.after.each(() => folder.remove());

test('what could not be written as a whole is not left staged', async () => {
  await transaction.run(async () => {
    // Longer than it says, so that writing fails when the file has been made.
    const data = Object.create(Uint8Array.prototype) as Uint8Array;
    await assert.rejects(files.writeFile('b', data));
    assert.equal(await folder.content(), { a: 'a' });
    await files.writeFile('a', 'changed');
  });
  assert.equal(await folder.content(), { a: 'changed' });
});

test('a path that has half a character is refused: several of them would be one file', async () => {
  for (const path of ['\ud800', 'a\udc00', '\ud800/a']) {
    const error = await assert.rejects(
      transaction.run(() => files.writeFile(path, 'data')),
      ConfigurationError,
    );
    assert.match(error.message, 'has half a character');
  }
  await transaction.run(() => files.writeFile('\u{1f600}', 'data'));
  assert.equal(await folder.content(), { a: 'a', '\u{1f600}': 'data' });
});

test('many staged files of the same time are listed by their paths, in whatever order the folder has them', async () => {
  const names = ['d', 'b', 'f', 'a', 'e', 'c'];
  for (const name of names) {
    const path = folder.join(`.shop+-+0123456789abcdef0123+1+1+${name}.unanimous-staged`);
    await writeFile(path, 'left');
    await utimes(path, new Date(0), new Date(0));
  }
  assert.equal(
    (await files.listStaged()).map(({ target }) => target),
    names.toSorted().map((name) => folder.join(name)),
  );
});

test('staged files of the same time are listed by their whole paths, also those of a folder that comes first', async () => {
  const name = '.shop+-+0123456789abcdef0123+1+1+a.unanimous-staged';
  // Before a dot.
  await mkdir(folder.join('!'));
  for (const path of [folder.join(name), folder.join('!', name)]) {
    await writeFile(path, 'left');
    await utimes(path, new Date(0), new Date(0));
  }
  assert.equal(
    (await files.listStaged({ recursive: true })).map(({ path }) => path),
    [folder.join('!', name), folder.join(name)],
  );
});

test('what was staged and can’t be removed is told, each of it, and keeps nothing else from being removed', async () => {
  const error = await assert.rejects(
    transaction.run(async () => {
      for (const name of ['b', 'c', 'd']) await files.writeFile(name, 'data');
      const staged = (await readdir(folder.path)).filter((name) => name.endsWith('.unanimous-staged'));
      assert.is(staged.length, 3);
      for (const name of staged.filter((each) => !each.includes('+c.'))) {
        await rm(folder.join(name));
        // Which no unlink removes.
        await mkdir(folder.join(name));
      }
      await transaction.abort();
    }),
  );
  const { code, path: first } = error as NodeJS.ErrnoException;
  assert.match(String(code), /^(EISDIR|EPERM)$/);
  assert.match(String(first), /\+b\./);
  const { suppressed = [] } = error as Error & { suppressed?: NodeJS.ErrnoException[] };
  assert.equal(
    suppressed.map(({ path }) => /\+(\w)\./.exec(path!)?.[1]),
    ['d'],
  );
  const left = Object.keys(await folder.content()).map((name) => /\+(\w)\./.exec(name)?.[1] ?? name);
  assert.equal(left.toSorted(), ['a', 'b', 'd']);
});
