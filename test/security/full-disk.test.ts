// Protects files on a disk that is full, out of inodes, read-only or closed to us: the transaction aborts wholly with the system's error, what
// was there stays as it was, and nothing is left behind. On a real file system of 256 kB in memory, which takes root to mount.
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InDoubtError, TransactionCoordinator, register } from 'unanimous';
import { FileSession, FilesNotInPlaceError } from 'unanimous/files';
import { type Test, assert, suite } from '../support/suite.ts';

const registering: Test = suite('a full disk');
const isPossible = process.platform === 'linux' && process.getuid?.() === 0;
/** Mounting takes root on Linux, and in some containers even that isn't enough. */
let mountable = isPossible;
if (isPossible) {
  const probe = await mkdtemp(join(tmpdir(), 'unanimous-probe-'));
  try {
    mount(probe, 'size=64k');
    execFileSync('umount', [probe]);
  } catch {
    mountable = false;
  }
  await rm(probe, { recursive: true, force: true });
}

function mount(folder: string, options: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder], { stdio: 'pipe' });
}

const mounted: string[] = [];
registering.after(async () => {
  for (const folder of mounted) {
    execFileSync('umount', ['-l', folder]);
    await rm(folder, { recursive: true, force: true });
  }
});

function test(name: string, body: () => Promise<void>): void {
  if (mountable) registering(name, body);
  else registering.skipOnPlatform('mounting a file system takes root on Linux', name);
}

const coordinator = new TransactionCoordinator();

/** A file system with a file in it, and a session whose root it is. */
async function disk(
  options = 'size=256k',
): Promise<{ path: string; files: FileSession; remount: (mode: string) => void }> {
  const path = await mkdtemp(join(tmpdir(), 'unanimous-disk-'));
  mount(path, options);
  mounted.push(path);
  await writeFile(join(path, 'kept'), 'as it was');
  return {
    path,
    files: register(new FileSession({ root: path }), { coordinator }),
    remount: (mode) => void execFileSync('mount', ['-o', `remount,${mode}`, path], { stdio: 'pipe' }),
  };
}

const big = Buffer.alloc(200 << 10, 1);
const names = async (path: string): Promise<string[]> => (await readdir(path, { recursive: true })).toSorted();

test('ENOSPC while a file is staged aborts the transaction, and leaves neither that nor those staged before', async () => {
  const { path, files } = await disk();
  const full = await assert.rejects(
    coordinator.run(async () => {
      await files.writeFile('kept', 'changed');
      await files.writeFile('first', big);
      await files.writeFile('second', big);
    }),
    { code: 'ENOSPC' },
  );
  assert.not.match(full.message, 'SQL');
  assert.equal(await names(path), ['kept']);
  assert.is(await readFile(join(path, 'kept'), 'utf8'), 'as it was');
  // The room is there again.
  await coordinator.run(() => files.writeFile('first', big));
  assert.equal(await names(path), ['first', 'kept']);
});

test('whoever catches ENOSPC may go on with what fits', async () => {
  const { path, files } = await disk();
  await coordinator.run(async () => {
    await assert.rejects(files.writeFile('big', Buffer.alloc(1 << 20)), { code: 'ENOSPC' });
    await files.writeFile('small', 'fits');
  });
  assert.equal(await names(path), ['kept', 'small']);
});

test('without an inode for another file nothing is staged; without one for the vote nothing is committed', async () => {
  const { path, files } = await disk('size=256k,nr_inodes=6');
  await mkdir(join(path, 'other'));
  // The root, the folder and the file: three are left.
  await assert.rejects(
    coordinator.run(async () => {
      for (const name of ['a', 'b', 'c', 'd']) await files.writeFile(name, name);
    }),
    { code: 'ENOSPC' },
  );
  assert.equal(await names(path), ['kept', 'other']);
  // Whether a file can be renamed into another folder the vote tries with a file of its own.
  await assert.rejects(
    coordinator.run(async () => {
      for (const name of ['a', 'b', 'c']) await files.writeFile(name, name);
      await files.rename('kept', 'other/kept');
    }),
    { code: 'ENOSPC' },
  );
  assert.equal(await names(path), ['kept', 'other']);
});

test('a disk that becomes read-only before the vote lets nothing commit; what is staged can be cleaned up later', async () => {
  const { path, files, remount } = await disk();
  const readOnly = await assert.rejects(
    coordinator.run(
      async () => {
        await files.writeFile('kept', 'changed');
        remount('ro');
      },
      { attempts: 1 },
    ),
    { code: 'EROFS' },
  );
  assert.is(await readFile(join(path, 'kept'), 'utf8'), 'as it was');
  // Nothing can be removed from it now, and that is told as well.
  assert.is((readOnly as { suppressed?: { code: string }[] }).suppressed?.[0]?.code, 'EROFS');
  await assert.rejects(
    coordinator.run(() => files.writeFile('new', '1')),
    { code: 'EROFS' },
  );
  remount('rw');
  const [staged] = await files.listStaged();
  assert.is(staged?.target, join(path, 'kept'));
  await files.cleanUp({ isCommitted: () => false, olderThanMs: 0 });
  assert.equal(await names(path), ['kept']);
});

test('a disk that becomes read-only between the vote and the finish is told with where the data is, and is never half written', async () => {
  const { path, files, remount } = await disk();
  const nothing = (): void => undefined;
  const doubt = await assert.rejects(
    coordinator.run(async (txn) => {
      await files.writeFile('kept', 'changed');
      // It votes behind the files, and finishes before them.
      txn.join({
        sortKey: 'a',
        tpcBegin: nothing,
        commit: nothing,
        tpcVote: nothing,
        tpcFinish: () => remount('ro'),
        tpcAbort: nothing,
        abort: nothing,
      });
    }),
    InDoubtError,
  );
  const cause = doubt.cause as FilesNotInPlaceError;
  assert.instance(cause, FilesNotInPlaceError);
  assert.equal(
    cause.files.map(({ outcome }) => outcome),
    ['failed'],
  );
  assert.is(await readFile(join(path, 'kept'), 'utf8'), 'as it was');
  assert.is(await readFile(cause.files[0]!.staged!, 'utf8'), 'changed');
});

test('a full disk does not keep another resource of the same transaction from being rolled back', async () => {
  const { path, files } = await disk();
  const other = await disk();
  await assert.rejects(
    coordinator.run(async () => {
      await other.files.writeFile('kept', 'changed');
      await files.writeFile('big', Buffer.alloc(1 << 20));
    }),
    { code: 'ENOSPC' },
  );
  assert.equal([await names(path), await names(other.path)], [['kept'], ['kept']]);
  assert.is(await readFile(join(other.path, 'kept'), 'utf8'), 'as it was');
});
