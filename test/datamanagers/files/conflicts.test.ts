// Protects that nobody's change of a file is lost: neither that of another transaction, nor that of whoever else writes to it.
import { execFile } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { appendFile, chmod, chown, readFile, rename, rm, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { TransientError, transaction } from 'unanimous';
import { FileConflictError, FileSession } from 'unanimous/files';
import { assert, suite } from '../../support/suite.ts';
import { gate, recording } from '../../coordinator/recording.ts';
import { Folder } from './setup.ts';

const test = suite('files that others change too');

let folder: Folder;
let files: FileSession;
test.before.each(async () => {
  folder = await Folder.open({ a: 'a', b: 'b' });
  files = new FileSession({ root: folder.path });
});
test.after.each(() => folder.remove());

/** What somebody else may do to file a, and to c, which isn't there. */
const elsewhere: [string, () => Promise<unknown>, Record<string, string>][] = [
  ['written', () => writeFile(folder.join('a'), 'longer'), { a: 'longer', b: 'b' }],
  [
    'written with the same length, and its times set back',
    async () => {
      const { atime, mtime } = await stat(folder.join('a'));
      await writeFile(folder.join('a'), 'x');
      await utimes(folder.join('a'), atime, mtime);
    },
    { a: 'x', b: 'b' },
  ],
  ['appended to', () => appendFile(folder.join('a'), 'x'), { a: 'ax', b: 'b' }],
  ['removed', () => unlink(folder.join('a')), { b: 'b' }],
  ['replaced', () => rename(folder.join('b'), folder.join('a')), { a: 'b' }],
  ['given other rights', () => chmod(folder.join('a'), 0o600), { a: 'a', b: 'b' }],
  ['made where there was none', () => writeFile(folder.join('c'), 'theirs'), { a: 'a', b: 'b', c: 'theirs' }],
];

/** How a transaction looks at both for the first time, and what it does to them afterwards. */
const uses: [string, () => Promise<unknown>, () => Promise<unknown>][] = [
  [
    'read before and written after it',
    async () => [await files.readFile('a'), await files.exists('c')],
    () => Promise.all([files.writeFile('a', 'ours'), files.writeFile('c', 'ours')]),
  ],
  [
    'written before it',
    () => Promise.all([files.writeFile('a', 'ours'), files.writeFile('c', 'ours')]),
    async () => undefined,
  ],
  ['renamed before it', () => files.rename('a', 'c'), async () => undefined],
];

for (const [what, change, left] of elsewhere) {
  for (const [when, first, then] of uses) {
    test(`a file that somebody else has ${what}, and that was ${when}, is no one’s to overwrite`, async () => {
      const error = await assert.rejects(
        transaction.run(
          async () => {
            await first();
            await change();
            // The other one's change comes first by now, and may be in the way already.
            await then();
          },
          { attempts: 1 },
        ),
        FileConflictError,
      );
      assert.instance(error, TransientError);
      assert.is(error.code, 'ERR_TXN_FILE_CONFLICT');
      assert.equal(await folder.content(), left);
    });
  }
}

test('a conflict is tried again, with what is there by then', async () => {
  let attempts = 0;
  await transaction.run(async () => {
    const read = await files.readFile('a', 'utf8');
    if (++attempts === 1) await writeFile(folder.join('a'), 'theirs');
    await files.writeFile('a', `${read}+ours`);
  });
  assert.is(attempts, 2);
  assert.equal(await folder.content(), { a: 'theirs+ours', b: 'b' });
});

test('what was only read may change', async () => {
  await transaction.run(async () => {
    await files.readFile('b');
    await files.writeFile('a', 'ours');
    await writeFile(folder.join('b'), 'theirs');
  });
  assert.equal(await folder.content(), { a: 'ours', b: 'theirs' });
});

test('of many transactions that count in one file, none is lost', async () => {
  await writeFile(folder.join('a'), '0');
  const count = 25;
  const session = (index: number): FileSession => (index % 2 === 0 ? files : new FileSession({ root: folder.path }));
  await Promise.all(
    Array.from({ length: count }, (_, index) =>
      transaction.run(
        async () => {
          const own = session(index);
          const number = Number(await own.readFile('a', 'utf8'));
          await own.writeFile('a', String(number + 1));
        },
        { attempts: 1000, backoff: { baseMs: 1, maxMs: 20 } },
      ),
    ),
  );
  assert.equal(await folder.content(), { a: String(count), b: 'b' });
});

test('a file is claimed from the vote to the end: another transaction can’t promise it meanwhile', async () => {
  for (const outcome of ['committed', 'aborted'] as const) {
    const voted = gate();
    const go = gate();
    const first = transaction.run(async (txn) => {
      await files.writeFile('a', 'first');
      const manager = recording([], '~~~');
      const tpcVote = async (): Promise<void> => {
        voted.open();
        await go.promise;
        if (outcome === 'aborted') throw new Error('no');
      };
      txn.join(Object.assign(manager, { tpcVote }));
    });
    first.catch(() => undefined);
    await voted.promise;
    const second = (attempts: number): Promise<void> =>
      transaction.run(() => files.rename('a', 'c'), { attempts, backoff: false });
    const error = await assert.rejects(second(1), FileConflictError);
    assert.match(error.message, `${folder.join('a')} is being put in place by another one`);
    // Another file is free.
    await transaction.run(() => files.writeFile('b', outcome));
    go.open();
    await first.catch(() => undefined);
    await second(1);
    assert.equal(await folder.content(), { b: outcome, c: outcome === 'aborted' ? 'a' : 'first' });
    await unlink(folder.join('c'));
    await writeFile(folder.join('a'), 'a');
  }
});

test('two sessions of one transaction don’t overwrite each other’s file', async () => {
  const other = new FileSession({ name: 'other', root: folder.path });
  await assert.rejects(
    transaction.run(
      async () => {
        await files.writeFile('a', '1');
        await other.writeFile('a', '2');
      },
      { attempts: 1 },
    ),
    FileConflictError,
  );
  assert.equal(await folder.content(), { a: 'a', b: 'b' });
});

test('a staged file that somebody has removed or changed lets nothing commit', async () => {
  for (const change of [unlink, (path: string) => writeFile(path, 'theirs')]) {
    await assert.rejects(
      transaction.run(
        async () => {
          await files.writeFile('a', 'ours');
          const [staged] = await files.listStaged();
          await change(staged!.path);
        },
        { attempts: 1 },
      ),
      FileConflictError,
    );
    assert.equal(await folder.content(), { a: 'a', b: 'b' });
  }
});

test('a folder that is gone before the vote is a no', async () => {
  const sub = await Folder.open({ x: 'x' }, folder.path);
  await assert.rejects(
    transaction.run(
      async () => {
        await files.writeFile('a', 'ours');
        await files.unlink(sub.join('x'));
        await files.writeFile(sub.join('y'), 'y');
        await rm(sub.path, { recursive: true });
      },
      { attempts: 1 },
    ),
    FileConflictError,
  );
  assert.equal(await folder.content(), { a: 'a', b: 'b' });
});

const otherDevice = '/dev/shm';
const hasOtherDevice = existsSync(otherDevice) && statSync(otherDevice).dev !== statSync(tmpdir()).dev;
const crossDevice = hasOtherDevice
  ? test
  : test.skipOnPlatform.bind(undefined, 'needs a second file system at /dev/shm');
crossDevice('a rename to another file system is refused at once; writing there is not', async () => {
  const far = await Folder.open({}, otherDevice);
  const own = new FileSession({ name: 'own' });
  try {
    await transaction.run(async () => {
      await assert.rejects(own.rename(folder.join('a'), far.join('a')), { code: 'EXDEV' });
      await own.writeFile(far.join('a'), await own.readFile(folder.join('a')));
      await assert.rejects(own.rename(far.join('a'), folder.join('c')), { code: 'EXDEV' });
      await own.unlink(folder.join('a'));
    });
    assert.equal([await folder.content(), await far.content()], [{ b: 'b' }, { a: 'a' }]);
  } finally {
    await far.remove();
  }
});

test('a rename from one folder to another leaves nothing of its trial', async () => {
  const sub = await Folder.open({}, folder.path);
  await transaction.run(() => files.rename('a', sub.join('a')));
  assert.equal(await sub.content(), { a: 'a' });
  assert.is((await files.listStaged({ recursive: true })).length, 0);
});

// What root may do others may not, so these run as nobody.
const run = promisify(execFile);
const nobody = 65_534;
const unprivileged =
  process.getuid?.() === 0 ? test : test.skipOnPlatform.bind(undefined, 'needs root, to become nobody');

/** What unprivileged.ts says of an action in the folder. */
async function asNobody(action: string): Promise<string> {
  const script = join(import.meta.dirname, 'unprivileged.ts');
  const { stdout } = await run(process.execPath, ['--import', 'tsx', script, action, folder.path, String(nobody)], {
    timeout: 20_000,
    killSignal: 'SIGKILL',
  });
  return stdout.trim();
}

unprivileged('a folder in which nothing may be written is found at once, one that becomes so by the vote', async () => {
  assert.is(await asNobody('write a'), 'EACCES');
  assert.equal(await folder.content(), { a: 'a', b: 'b' });
  await chown(folder.path, nobody, nobody);
  assert.is(await asNobody('rename b, and lock the folder'), 'EACCES');
  await chmod(folder.path, 0o700);
  assert.equal(await folder.content(), { a: 'a', b: 'b' });
});

unprivileged('a file of somebody else isn’t replaced by one that isn’t his', async () => {
  await chown(folder.path, nobody, nobody);
  await chmod(folder.join('a'), 0o666);
  assert.is(await asNobody('write a'), 'EPERM');
  assert.equal(await folder.content(), { a: 'a', b: 'b' });
  assert.is(await readFile(folder.join('a'), 'utf8'), 'a');
  await chown(folder.join('a'), nobody, nobody);
  assert.is(await asNobody('write a'), 'committed');
});
