// Protects what a transaction does to real files: all of it when it commits, nothing when it doesn't, nothing left beside them
// in either case; what it sees meanwhile, and what a savepoint returns to.
import {
  chmod,
  chown,
  link,
  mkdir,
  readFile,
  readdir,
  rename,
  rm,
  rmdir,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import {
  CommitOutcomeUnknownError,
  ConcurrentUseError,
  ConfigurationError,
  InDoubtError,
  NoTransaction,
  TransactionClosed,
  TransactionStateError,
  register,
  sessionState,
  transaction,
} from 'unanimous';
import { FileSession, FilesNotInPlaceError } from 'unanimous/files';
import { assert, suite } from '../../support/suite.ts';
import { raise, recording, suppressedBy, thrownBy } from '../../coordinator/recording.ts';
import { Folder } from './setup.ts';

const test = suite('files in transactions');

let folder: Folder;
let files: FileSession;
test.before.each(async () => {
  folder = await Folder.open({ a: 'a', b: 'b' });
  files = register(new FileSession({ root: folder.path }));
});
test.after.each(() => folder.remove());

const no = new Error('no');

/** Everything that can be done: afterwards a is changed, b is c, and d is new. */
async function change(): Promise<void> {
  await files.writeFile('a', 'changed');
  await files.rename('b', 'c');
  await files.writeFile('d', 'new');
  await files.writeFile('e', 'no more');
  await files.unlink('e');
}
const before = { a: 'a', b: 'b' };
const after = { a: 'changed', c: 'b', d: 'new' };

test('files are written, renamed and removed when the transaction commits, and nothing is left beside them', async () => {
  await transaction.run(async () => {
    await change();
    const { a, b, c, d } = await folder.content();
    assert.equal({ a, b, c, d }, { a: 'a', b: 'b', c: undefined, d: undefined }, 'not before');
  });
  assert.equal(await folder.content(), after);
});

/** How a transaction may fail to commit. */
const failures: [string, () => Promise<unknown>][] = [
  ['it throws', () => transaction.run(async () => (await change(), raise(no)))],
  ['it is aborted', () => transaction.run(async () => (await change(), transaction.abort().then(() => raise(no))))],
  [
    'it is doomed',
    () =>
      transaction.run(async (txn) => {
        await change();
        txn.doom();
      }),
  ],
  ...(['tpcBegin', 'commit', 'tpcVote'] as const).flatMap((step) =>
    ['0', '~~~'].map((name): [string, () => Promise<unknown>] => [
      `${step} of a data manager with the key ${name} fails`,
      () =>
        transaction.run(async (txn) => {
          txn.join(recording([], name, { fails: { [step]: no } }));
          await change();
        }),
    ]),
  ),
];

for (const [when, fail] of failures) {
  test(`the files are as they were, and nothing is left beside them, where ${when}`, async () => {
    await assert.rejects(fail());
    assert.equal(await folder.content(), before);
  });
}

test('a transaction sees what it has done', async () => {
  await transaction.run(async () => {
    assert.is(await files.readFile('a', 'utf8'), 'a');
    await files.writeFile('a', 'changed');
    assert.is(await files.readFile('a', 'utf8'), 'changed');
    assert.equal(await files.readFile('a'), Buffer.from('changed'));
    await files.rename('a', 'c');
    assert.equal([await files.exists('a'), await files.exists('c')], [false, true]);
    assert.is(await files.readFile('c', 'utf8'), 'changed');
    await files.rename('b', 'a');
    assert.is(await files.readFile('a', 'utf8'), 'b');
    await files.writeFile('b', 'new');
    assert.is(await files.readFile('a', 'utf8'), 'b');
    await files.unlink('a');
    assert.is(await files.exists('a'), false);
    assert.is(await files.exists('d'), false);
  });
  assert.equal(await folder.content(), { b: 'new', c: 'changed' });
});

test('files change places', async () => {
  await transaction.run(async () => {
    await files.rename('a', 'c');
    await files.rename('b', 'a');
    await files.rename('c', 'b');
  });
  assert.equal(await folder.content(), { a: 'b', b: 'a' });
});

test('what isn’t there can’t be read, renamed or removed, and neither can what the transaction has removed', async () => {
  await transaction.run(async () => {
    await files.unlink('a');
    for (const name of ['a', 'none']) {
      for (const [attempt, syscall] of [
        [() => files.readFile(name), 'open'],
        [() => files.rename(name, 'c'), 'rename'],
        [() => files.unlink(name), 'unlink'],
      ] as const) {
        const error = await assert.rejects(attempt(), { code: 'ENOENT', syscall });
        assert.match(error.message, folder.join(name));
      }
    }
    await assert.rejects(files.writeFile('none/a', ''), { code: 'ENOENT' });
    await assert.rejects(files.writeFile('b/a', ''), { code: 'ENOTDIR' });
    await assert.rejects(files.readFile('none/a'), { code: 'ENOENT' });
    assert.equal([await files.exists('none/a'), await files.exists('b/a')], [false, false]);
  });
  assert.equal(await folder.content(), { b: 'b' });
});

test('a change that fails leaves nothing, and the others can be committed', async () => {
  await transaction.run(async () => {
    await files.writeFile('a', 'changed');
    await assert.rejects(files.rename('none', 'a'));
    await assert.rejects(files.writeFile('b', 'x', { encoding: 'none' as never }), ConfigurationError);
    await assert.rejects(files.writeFile('b', 1 as never), ConfigurationError);
  });
  assert.equal(await folder.content(), { a: 'changed', b: 'b' });
});

test('data may be a text in any encoding, or bytes', async () => {
  await transaction.run(async () => {
    await files.writeFile('a', 'ä', { encoding: 'latin1' });
    await files.writeFile('b', new Uint8Array([1, 2]));
    await files.writeFile('c', Buffer.from('buffer'));
    await files.writeFile('empty', '');
    assert.is(await files.readFile('a', 'latin1'), 'ä');
  });
  assert.equal(await readFile(folder.join('a')), Buffer.from([0xe4]));
  assert.equal(await readFile(folder.join('b')), Buffer.from([1, 2]));
  assert.equal((await readFile(folder.join('c'), 'utf8')) + (await readFile(folder.join('empty'), 'utf8')), 'buffer');
});

test('a file that is replaced keeps its rights and its owner; a new one may be given rights', async () => {
  await chmod(folder.join('a'), 0o640);
  const isRoot = process.getuid?.() === 0;
  if (isRoot) await chown(folder.join('a'), 12_345, 54_321);
  await transaction.run(async () => {
    await files.writeFile('a', 'changed');
    await files.writeFile('b', 'changed', { mode: 0o606 });
    await files.writeFile('c', 'new', { mode: 0o777 });
    await files.writeFile('d', 'new');
    const staged = await files.listStaged();
    assert.equal(await Promise.all(staged.map(async ({ path }) => (await stat(path)).mode & 0o7777)), [
      0o640,
      0o606,
      0o777,
      0o666 & ~process.umask(),
    ]);
  });
  const { mode, uid, gid } = await stat(folder.join('a'));
  assert.is(mode & 0o7777, 0o640);
  if (isRoot) assert.equal([uid, gid], [12_345, 54_321]);
  assert.is((await stat(folder.join('b'))).mode & 0o7777, 0o606);
});

test('a savepoint returns to what was staged then, and may be returned to again', async () => {
  await transaction.run(async (txn) => {
    const first = await txn.savepoint();
    await files.writeFile('a', 'dropped with the session');
    await first.rollback();
    assert.is(sessionState(files), undefined);

    await files.writeFile('a', '1');
    const second = await txn.savepoint();
    for (let time = 0; time < 2; time++) {
      await files.writeFile('a', '2');
      await files.rename('a', 'c');
      await files.unlink('b');
      await second.rollback();
      assert.is(await files.readFile('a', 'utf8'), '1');
      assert.equal([await files.exists('b'), await files.exists('c')], [true, false]);
      assert.is((await files.listStaged()).length, 1, 'what was dropped is gone');
    }
    await files.writeFile('d', 'd');
  });
  assert.equal(await folder.content(), { a: '1', b: 'b', d: 'd' });
});

test('calls that are not awaited one by one are done in the order in which they were made', async () => {
  await transaction.run(() =>
    Promise.all([
      files.writeFile('c', 'x'.repeat(1_000_000)),
      files.rename('c', 'd'),
      files.readFile('d', 'utf8').then((data) => assert.is(data.length, 1_000_000)),
      files.writeFile('d', 'short'),
    ]),
  );
  assert.equal(await folder.content(), { ...before, d: 'short' });
});

test('a call that nobody awaits lets nothing commit, and leaves nothing', async () => {
  let late: Promise<void> | undefined;
  const error = await assert.rejects(
    transaction.run(async () => {
      await files.writeFile('a', 'changed');
      late = files.writeFile('b', 'changed');
    }),
    ConcurrentUseError,
  );
  await late;
  assert.match(error.message, "one of 'files' was still under way");
  assert.equal(await folder.content(), before);
});

test('an abort waits for what is under way, refuses what waits for its turn, and leaves nothing', async () => {
  const pending: Promise<unknown>[] = [];
  const rejected = transaction.run(() => {
    pending.push(files.writeFile('c', 'x'.repeat(1_000_000)), files.writeFile('d', 'new'));
    for (const each of pending) each.catch(() => undefined);
    throw no;
  });
  assert.is(await assert.rejects(rejected), no);
  assert.equal(await folder.content(), before);
  const settled = await Promise.allSettled(pending);
  assert.instance((settled[1] as PromiseRejectedResult).reason, TransactionClosed);
});

test('outside of a transaction, after its end and where it is read-only nothing is changed', async () => {
  await assert.rejects(files.writeFile('a', 'x'), NoTransaction);
  await assert.rejects(files.readFile('a'), NoTransaction);
  const late = await transaction.run(async () => {
    await files.exists('a');
    return { error: new Promise((resolve) => setTimeout(resolve, 20)).then(() => files.writeFile('a', 'late')) };
  });
  await assert.rejects(late.error, TransactionClosed);
  await transaction.run(
    async () => {
      assert.is(await files.readFile('a', 'utf8'), 'a');
      for (const attempt of [() => files.writeFile('a', 'x'), () => files.rename('a', 'c'), () => files.unlink('a')]) {
        await assert.rejects(attempt(), TransactionStateError);
      }
    },
    { readOnly: true },
  );
  assert.equal(await folder.content(), before);
});

test('a call while the transaction commits is refused', async () => {
  let late: Promise<void> | undefined;
  await transaction.run(async (txn) => {
    await files.writeFile('a', 'changed');
    const does = (): void => {
      late = files.writeFile('b', 'late');
      late.catch(() => undefined);
    };
    txn.join(recording([], '~~~', { does: { tpcVote: does } }));
  });
  await assert.rejects(late!, TransactionClosed);
  assert.equal(await folder.content(), { ...before, a: 'changed' });
});

test('the session has a state, and joins before anything is awaited', async () => {
  await transaction.run(async () => {
    assert.is(sessionState(files), undefined);
    const pending = files.readFile('a');
    assert.is(sessionState(files), 'active');
    await pending;
    await files.writeFile('a', 'changed');
    assert.is(sessionState(files), 'changed');
  });
});

test('a transaction that has only read is released, and way is read-only', async () => {
  const outcome = await transaction.run(async (txn) => {
    await files.readFile('a');
    txn.join(recording([], 'bank', { changed: true, onePhase: true }));
    return () => txn.outcome;
  });
  assert.equal(outcome(), { result: 'committed', way: 'one-phase' });
});

test('one database beside files commits in one phase, before they are put in place', async () => {
  const seen: unknown[] = [];
  await transaction.run(async (txn) => {
    await change();
    const does = async (): Promise<void> => void seen.push(txn.way, await readFile(folder.join('a'), 'utf8'));
    const bank = recording([], '~sql:bank', { changed: true, onePhase: true });
    txn.join(Object.assign(bank, { tpcVote: does }));
  });
  assert.equal(seen, ['one-phase', 'a']);
  assert.equal(await folder.content(), after);
});

test('a path must stay below the root, however it is written', async () => {
  const outer = await Folder.open({ x: 'x' });
  await symlink(outer.path, folder.join('out'));
  await mkdir(folder.join('sub'));
  await transaction.run(async () => {
    for (const path of [
      '../x',
      'sub/../../x',
      '/etc/passwd',
      folder.path,
      '.',
      '',
      'a\0b',
      'sub/',
      outer.join('x'),
      'out/x',
    ]) {
      for (const attempt of [
        () => files.writeFile(path, 'x'),
        () => files.readFile(path),
        () => files.rename(path, 'c'),
        () => files.rename('a', path),
        () => files.unlink(path),
        () => files.exists(path),
      ]) {
        await assert.rejects(attempt(), ConfigurationError, path);
      }
    }
    await files.writeFile(folder.join('absolute'), 'below the root');
    await files.writeFile('sub/../dots..', 'below the root');
  });
  assert.equal(await outer.content(), { x: 'x' });
  assert.is((await folder.content())['absolute'], 'below the root');
  assert.is((await folder.content())['dots..'], 'below the root');
  await outer.remove();
});

test('without a root a path must be absolute', async () => {
  const own = new FileSession({ name: 'own' });
  await transaction.run(async () => {
    await assert.rejects(own.writeFile('a', 'x'), ConfigurationError);
    await own.writeFile(folder.join('c'), 'c');
  });
  assert.equal(await folder.content(), { ...before, c: 'c' });
});

test('a root may be a link; a file is one, by whatever links its folder is reached', async () => {
  await mkdir(folder.join('real'));
  await symlink(folder.join('real'), folder.join('link'));
  const own = new FileSession({ name: 'own', root: folder.join('link') });
  await transaction.run(async () => {
    await own.writeFile('x', 'x');
    assert.is(await files.exists('real/x'), false, 'another session’s');
    await files.writeFile('a', 'a');
  });
  await transaction.run(async () => {
    await files.writeFile('link/x', '1');
    assert.is(await files.readFile('real/x', 'utf8'), '1');
  });
  assert.is(await readFile(folder.join('real', 'x'), 'utf8'), '1');
});

test('links and folders are refused, as is the name of a staged file', async () => {
  await symlink(folder.join('a'), folder.join('link'));
  await mkdir(folder.join('sub'));
  await transaction.run(async () => {
    for (const path of ['link', 'sub']) {
      for (const attempt of [
        () => files.writeFile(path, 'x'),
        () => files.readFile(path),
        () => files.rename(path, 'c'),
        () => files.rename('a', path),
        () => files.unlink(path),
      ]) {
        await assert.rejects(attempt(), ConfigurationError);
      }
    }
    await files.writeFile('c', 'c');
    const [staged] = await files.listStaged();
    await assert.rejects(files.unlink(staged!.path), ConfigurationError);
  });
});

test('another name of a file that is replaced keeps what it had', async () => {
  await link(folder.join('a'), folder.join('other'));
  await transaction.run(() => files.writeFile('a', 'changed'));
  assert.equal(await folder.content(), { ...before, a: 'changed', other: 'a' });
});

test('options are checked', () => {
  for (const wrong of [
    () => new FileSession({ folder: '/' } as never),
    () => new FileSession({ root: 1 as never }),
    () => new FileSession({ name: 'my files' }),
    () => register(new FileSession(), { keepSession: true }),
  ]) {
    assert.instance(thrownBy(wrong), ConfigurationError);
  }
});

test('a name that is as long as it may be can be written, and its staged file is known all the same', async () => {
  const name = 'ä'.repeat(127) + 'x';
  await transaction.run(async (txn) => {
    await files.writeFile(name, 'long');
    const [staged] = await files.listStaged();
    assert.equal([staged?.target, staged?.xid], [undefined, txn.id]);
  });
  assert.equal(await folder.content(), { ...before, [name]: 'long' });
});

// What fails only when there is no way back.

/** Calls `does` when all have voted, but for the databases. */
function afterVote(does: () => unknown): void {
  const manager = recording([], '~~~');
  transaction.get().join(Object.assign(manager, { tpcVote: async () => void (await does()) }));
}

async function failing(body: () => Promise<unknown>): Promise<{ doubt: InDoubtError; error: FilesNotInPlaceError }> {
  const doubt = await assert.rejects(
    transaction.run(async () => void (await body())),
    InDoubtError,
  );
  assert.instance(doubt.cause, FilesNotInPlaceError);
  return { doubt, error: doubt.cause as FilesNotInPlaceError };
}

const outcomesOf = (error: FilesNotInPlaceError): string[] =>
  error.files.map(({ operation, outcome }) => `${operation} ${outcome}`);

test('a folder that is gone after the vote: the others are put in place, and the error says what is missing', async () => {
  await mkdir(folder.join('sub'));
  const { doubt, error } = await failing(async () => {
    await files.writeFile('a', 'changed');
    await files.writeFile('sub/x', 'x');
    await files.rename('b', 'c');
    afterVote(() => rm(folder.join('sub'), { recursive: true }));
  });
  assert.equal(await folder.content(), { a: 'changed', c: 'b' });
  assert.equal(outcomesOf(error), ['write done', 'write failed', 'rename done']);
  assert.equal(doubt.unfinished, ['files:files']);
  assert.is((error.cause as { code: string }).code, 'ENOENT');
  assert.is(error.code, 'ERR_TXN_FILES_NOT_IN_PLACE');
  assert.match(error.message, `write ${folder.join('sub/x')}: failed (ENOENT`);
  assert.match(
    error.message,
    `; done: write ${folder.join('a')} and rename ${folder.join('b')} to ${folder.join('c')}`,
  );
});

test('what somebody has written after the vote isn’t overwritten; the data waits beside it', async () => {
  const { error } = await failing(async () => {
    await files.writeFile('a', 'ours');
    await files.unlink('b');
    await files.writeFile('c', 'ours');
    afterVote(async () => {
      await writeFile(folder.join('a'), 'theirs');
      await writeFile(folder.join('c'), 'theirs');
    });
  });
  assert.equal(outcomesOf(error), ['write failed', 'unlink done', 'write failed']);
  const { a, b, c } = await folder.content();
  assert.equal({ a, b, c }, { a: 'theirs', b: undefined, c: 'theirs' });
  const staged = await files.listStaged();
  assert.equal(
    staged.map(({ path }) => path),
    [error.files[0]!.staged, error.files[2]!.staged],
  );
  assert.equal(
    staged.map(({ target }) => target),
    [folder.join('a'), folder.join('c')],
  );
  assert.is(await readFile(staged[0]!.path, 'utf8'), 'ours');
});

test('what works on a file whose own change failed isn’t tried: nothing is overwritten that was to be renamed first', async () => {
  await mkdir(folder.join('sub'));
  const { error } = await failing(async () => {
    await files.rename('a', 'sub/a');
    await files.writeFile('a', 'new');
    await files.rename('b', 'a');
    await files.writeFile('b', 'new');
    await files.writeFile('c', 'c');
    afterVote(() => rmdir(folder.join('sub')));
  });
  assert.equal(outcomesOf(error), [
    'rename failed',
    'write not tried',
    'rename not tried',
    'write not tried',
    'write done',
  ]);
  const { a, b, c } = await folder.content();
  assert.equal({ a, b, c }, { a: 'a', b: 'b', c: 'c' });
});

test('a target that has become a folder after the vote isn’t touched', async () => {
  const { error } = await failing(async () => {
    await files.writeFile('c', 'ours');
    afterVote(() => mkdir(folder.join('c')));
  });
  assert.equal(outcomesOf(error), ['write failed']);
  assert.match(error.message, 'is a folder');
});

test('what was to be removed and is gone already is told', async () => {
  const { error } = await failing(async () => {
    await files.unlink('a');
    afterVote(() => rename(folder.join('a'), folder.join('elsewhere')));
  });
  assert.equal(outcomesOf(error), ['unlink failed']);
});

test('where the outcome isn’t known what is staged stays, and the error says where', async () => {
  const lost = new CommitOutcomeUnknownError('reply lost', { resource: 'bank' });
  let xid = '';
  const doubt = await assert.rejects(
    transaction.run(async (txn) => {
      xid = txn.id;
      await files.writeFile('a', 'changed');
      await files.unlink('b');
      txn.join(recording([], 'bank', { lastResource: true, changed: true, fails: { tpcVote: lost } }));
    }),
    InDoubtError,
  );
  assert.equal(doubt.unfinished, ['files:files']);
  const [error] = suppressedBy(lost) as [FilesNotInPlaceError];
  assert.equal(outcomesOf(error), ['write not tried', 'unlink not tried']);
  const staged = await files.listStaged();
  assert.equal([staged.length, staged[0]!.path, staged[0]!.xid], [1, error.files[0]!.staged, xid]);
  const { a, b } = await folder.content();
  assert.equal({ a, b }, before);
  // The files are free: nobody else waits for a person.
  await transaction.run(() => files.writeFile('a', 'next'));
});

test('staged files are listed, and only those of transactions that have ended without a commit are removed', async () => {
  await mkdir(folder.join('sub'));
  const left = '.unanimous+-+0123456789abcdef0123+1+1+x.unanimous-staged';
  const wanted = '.unanimous+-+0123456789abcdef0123+2+1+x.unanimous-staged';
  const foreign = '.unanimous+-+0123456789abcdef0123+1+x.unanimous-staged';
  for (const name of [left, wanted, foreign, `sub/${left}`]) await writeFile(folder.join(name), 'x');
  const asked: string[] = [];
  const isCommitted = async (xid: string): Promise<boolean> => asked.push(xid) > 0 && xid.endsWith(':2');
  await transaction.run(async () => {
    await files.writeFile('a', 'under way');
    const all = await files.listStaged({ recursive: true });
    assert.equal(
      new Set(all.map(({ target }) => target)),
      new Set([folder.join('x'), folder.join('sub/x'), folder.join('a')]),
    );
    assert.is((await files.listStaged()).length, 3);
    assert.is((await files.listStaged({ folder: 'sub' })).length, 1);
    assert.equal(await files.cleanUp({ isCommitted }), [], 'they are young');
    const removed = await files.cleanUp({ isCommitted, olderThanMs: 0 });
    assert.equal(
      removed.map(({ path }) => path),
      [folder.join(left)],
    );
    assert.is(removed[0]!.xid, 'unanimous:-:0123456789abcdef0123:1');
  });
  assert.equal(new Set(asked), new Set(['unanimous:-:0123456789abcdef0123:1', 'unanimous:-:0123456789abcdef0123:2']));
  const names = await readdir(folder.path);
  assert.equal(new Set(names), new Set(['a', 'b', 'sub', wanted, foreign]));
  assert.is((await files.cleanUp({ recursive: true, isCommitted: () => false, olderThanMs: 0 })).length, 2);
  assert.equal(await readdir(folder.join('sub')), []);
});

test('what is cleaned up must be said: whether it has committed, and where', async () => {
  await assert.rejects(files.cleanUp({} as never), ConfigurationError);
  await assert.rejects(files.cleanUp({ isCommitted: () => false, olderThanMs: -1 }), ConfigurationError);
  await assert.rejects(files.listStaged({ folder: '..' }), ConfigurationError);
  const own = new FileSession();
  await assert.rejects(own.listStaged(), ConfigurationError);
  await assert.rejects(own.listStaged({ folder: 'relative' }), ConfigurationError);
  assert.equal(await own.listStaged({ folder: folder.path }), []);
  await assert.rejects(own.listStaged({ folder: join(folder.path, 'none') }), { code: 'ENOENT' });
});
