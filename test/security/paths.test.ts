// Protects the folder of a file session from names that strangers have chosen: none leads out of it, writes through a link, or is two files.
import { link, lstat, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { inspect } from 'node:util';
import { ConfigurationError, TransactionCoordinator, register } from 'unanimous';
import { FileSession } from 'unanimous/files';
import { Folder } from '../datamanagers/files/setup.ts';
import { assert, suite } from '../support/suite.ts';
import { QUOTED, UNPRINTABLE } from './hostile-texts.ts';

const test = suite('hostile paths');
const outer = await Folder.open({ secret: 'of others' });
await mkdir(outer.join('root'));
await mkdir(outer.join('root-of-others'));
await mkdir(outer.join('root', 'folder'));
const coordinator = new TransactionCoordinator();
const files = register(new FileSession({ root: outer.join('root') }), { coordinator });
test.after(() => outer.remove());

/** All that can be done with a path. */
const uses = (path: string): Record<string, () => Promise<unknown>> => ({
  writeFile: () => files.writeFile(path, 'x'),
  readFile: () => files.readFile(path),
  exists: () => files.exists(path),
  unlink: () => files.unlink(path),
  'rename from': () => files.rename(path, 'target'),
  'rename to': () => files.rename('source', path),
});

async function refused(path: string): Promise<void> {
  for (const [use, work] of Object.entries(uses(path))) {
    const error = await assert.rejects(coordinator.run(work), ConfigurationError, `${use} ${inspect(path)}`);
    assert.not.match(error.message, UNPRINTABLE);
  }
}

test('no path leads out of the root, however it is written', async () => {
  await writeFile(outer.join('root', 'source'), 'x');
  const before = await outer.content();
  for (const path of [
    '../secret',
    'folder/../../secret',
    './/folder/.././../secret',
    outer.join('secret'),
    outer.join('root', '..', 'secret'),
    outer.join('root-of-others', 'file'),
    '../root-of-others/file',
    '/etc/passwd',
    '..',
    '.',
    '',
    'folder/',
    '/',
    'file\0.txt',
    '\0',
    '../secret\0/../folder/file',
  ]) {
    await refused(path);
  }
  assert.equal(await outer.content(), before);
});

test('no path is followed through a symbolic link out of the root, nor to a link, and a link that comes in between is noticed', async () => {
  await symlink('../secret', outer.join('root', 'link'));
  await symlink('..', outer.join('root', 'up'));
  await symlink('nothing', outer.join('root', 'dangling'));
  for (const path of ['link', 'dangling', 'up/secret', 'up/root-of-others/file', 'up/new'])
    await refusedOnceLooked(path);
  await refusedLate();
  assert.is(await readFile(outer.join('secret'), 'utf8'), 'of others');
});

async function refusedOnceLooked(path: string): Promise<void> {
  for (const [use, work] of Object.entries(uses(path))) {
    await assert.rejects(coordinator.run(work), ConfigurationError, `${use} ${path}`);
  }
}

/** The path becomes a link when the file is staged already. */
async function refusedLate(): Promise<void> {
  await assert.rejects(
    coordinator.run(
      async () => {
        await files.writeFile('late', 'x');
        await symlink('../secret', outer.join('root', 'late'));
      },
      { attempts: 1 },
    ),
    ConfigurationError,
  );
}

test('writing to a file with another hard link leaves that as it was', async () => {
  await link(outer.join('secret'), outer.join('root', 'hard'));
  await coordinator.run(() => files.writeFile('hard', 'changed'));
  assert.is(await readFile(outer.join('secret'), 'utf8'), 'of others');
  assert.is((await lstat(outer.join('secret'))).nlink, 1);
});

test('half a character in a path is refused: the system would take several texts for one file', async () => {
  for (const path of ['a\ud800', 'a\udfff', '\ud83d/x', 'folder/\udc00\ud800']) await refused(path);
});

test('whatever else is in a name, it is that of a file', async () => {
  const given = QUOTED.map((text) => text.replaceAll('/', '|')).concat([
    'a'.repeat(255),
    '-rf',
    '~',
    '*',
    'e\u0301',
    '\u00e9',
  ]);
  await coordinator.run(async () => {
    for (const name of given) await files.writeFile(`folder/${name}`, name);
  });
  await coordinator.run(async () => {
    for (const name of given) assert.is(await files.readFile(`folder/${name}`, 'utf8'), name, name);
    for (const name of given) await files.unlink(`folder/${name}`);
  });
  assert.equal((await outer.content())['root/folder'], undefined);
  assert.equal(
    Object.keys(await outer.content()).filter((path) => path.startsWith('root/folder/')),
    [],
  );
});

test('a name or a path that is too long is refused by the system before anything is committed', async () => {
  await assert.rejects(
    coordinator.run(() => files.writeFile('a'.repeat(256), 'x')),
    { code: 'ENAMETOOLONG' },
  );
  await assert.rejects(
    coordinator.run(() => files.writeFile(`${'a/'.repeat(5_000)}b`, 'x')),
    (error: unknown) => ['ENAMETOOLONG', 'ENOENT'].includes((error as NodeJS.ErrnoException).code!),
  );
  await assert.rejects(
    coordinator.run(() => files.writeFile('a'.repeat(1 << 20), 'x')),
    { code: 'ENAMETOOLONG' },
  );
});

test('no name is that of a staged file, which cleaning up would remove, and nothing else is cleaned up', async () => {
  const staged = `.shop+-+${'0'.repeat(20)}+1+1+name.unanimous-staged`;
  await refused(staged);
  const near = [
    `.shop+-+${'0'.repeat(19)}+1+1+name.unanimous-staged`,
    'name.unanimous-staged',
    `.a+b+c+1+1+x.unanimous-staged`,
  ];
  await coordinator.run(async () => {
    for (const name of near) await files.writeFile(name, 'x');
  });
  await symlink('../secret', outer.join('root', staged));
  assert.equal(await files.cleanUp({ isCommitted: () => false, olderThanMs: 0 }), []);
  assert.is(await readFile(outer.join('secret'), 'utf8'), 'of others');
});
