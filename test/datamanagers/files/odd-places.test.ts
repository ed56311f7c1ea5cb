// Protects what is in a folder beside plain files, and whoever looks for what was left there: what is no file isn't replaced or listed, and a
// change that may not outlive a power failure is told.
import { execFile } from 'node:child_process';
import { chmod, chown, mkdir, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ConfigurationError, register, transaction } from 'unanimous';
import { FileSession } from 'unanimous/files';
import { assert, suite } from '../../support/suite.ts';
import { Folder } from './setup.ts';

const test = suite('files in odd places');

let folder: Folder;
let files: FileSession;
test.before.each(async () => {
  folder = await Folder.open({ a: 'a' });
  files = register(new FileSession({ root: folder.path }));
});
test.after.each(() => folder.remove());

test('a file that is renamed to its own name stays as it is', async () => {
  await transaction.run(() => files.rename('a', 'a'));
  assert.equal(await folder.content(), { a: 'a' });
  await assert.rejects(
    transaction.run(() => files.rename('missing', 'missing')),
    { code: 'ENOENT' },
  );
});

test('what is neither a file nor a folder nor a link is not replaced', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(folder.join('socket'), resolve));
  const error = await assert.rejects(
    transaction.run(() => files.writeFile('socket', 'data')),
    ConfigurationError,
  );
  assert.match(error.message, 'is no regular file');
  await new Promise((resolve) => server.close(resolve));
});

test('staged files of the same time are listed by their paths, and what only has such a name is none', async () => {
  const staged = (name: string): string => `.shop+-+0123456789abcdef0123+1+1+${name}.unanimous-staged`;
  const time = new Date(0);
  for (const name of ['b', 'a']) {
    await writeFile(folder.join(staged(name)), 'left');
    await utimes(folder.join(staged(name)), time, time);
  }
  await mkdir(folder.join(staged('folder')));
  const found = await files.listStaged();
  assert.equal(
    found.map(({ path, target }) => [path, target]),
    ['a', 'b'].map((name) => [folder.join(staged(name)), folder.join(name)]),
  );
  const removed = await files.cleanUp({ isCommitted: () => false });
  assert.equal(removed, found);
  assert.equal(await folder.content(), { [staged('folder')]: undefined, a: 'a' });
});

// What root may do others may not, so this runs as nobody.
const nobody = 65_534;
const unprivileged =
  process.getuid?.() === 0 ? test : test.skipOnPlatform.bind(undefined, 'needs root, to become nobody');

unprivileged('where a folder can not be made durable the change is made, and that it may be lost is told', async () => {
  await chmod(folder.path, 0o755);
  const blind = folder.join('blind');
  await mkdir(blind);
  await writeFile(join(blind, 'a'), 'a');
  for (const path of [blind, join(blind, 'a')]) await chown(path, nobody, nobody);
  // It may be written in, but not opened, which takes reading.
  await chmod(blind, 0o300);
  const script = join(import.meta.dirname, 'unsynced.ts');
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', script, folder.path], {
    timeout: 20_000,
    killSignal: 'SIGKILL',
  });
  await chmod(blind, 0o700);
  assert.match(
    stdout,
    /all were made; done: rename \S+a to \S+b; what was done may not outlive a power failure \(EACCES/,
  );
  assert.equal(await folder.content(), { a: 'a', blind: undefined, [join('blind', 'b')]: 'a' });
});
