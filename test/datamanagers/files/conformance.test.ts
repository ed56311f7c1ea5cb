import { mkdir, readdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { transaction } from 'unanimous';
import { FileConflictError, FileSession } from 'unanimous/files';
import { type ConformanceSubject, dataManagerConformance } from 'unanimous/testing';
import { suite } from '../../support/suite.ts';
import { recording } from '../../coordinator/recording.ts';
import { Folder } from './setup.ts';

interface Place {
  readonly folder: Folder;
  readonly files: FileSession;
  /** What was written until now, whatever became of it. */
  readonly names: string[];
}

/** Puts a folder in the place of the newest staged file, so that it can't be removed; returns what ends that. */
async function block({ files }: Place): Promise<() => Promise<void>> {
  const { path } = (await files.listStaged()).at(-1)!;
  await rm(path);
  await mkdir(path);
  return () => rmdir(path);
}

/** Calls `does` in the vote, behind that of the files. */
function afterVote(does: () => Promise<void>): void {
  transaction.get().join(Object.assign(recording([], 'g'), { tpcVote: does }));
}

const subject: ConformanceSubject<Place> = {
  capabilities: {
    savepoints: true,
    readOnlyVote: true,
    lastResource: false,
    onePhase: false,
    recoverable: false,
    readsOwnWrites: true,
  },
  async open() {
    const folder = await Folder.open();
    return { folder, files: new FileSession({ root: folder.path }), names: [] };
  },
  close: ({ folder }) => folder.remove(),
  write({ files, names }, value) {
    names.push(value);
    return files.writeFile(value, value);
  },
  async read({ files, names }) {
    const seen = await Promise.all(['none', ...names].map(async (name) => ((await files.exists(name)) ? [name] : [])));
    return seen.flat();
  },
  async stored({ folder }) {
    return (await readdir(folder.path)).filter((name) => !name.startsWith('.'));
  },
  async held({ files }) {
    return (await files.listStaged()).length;
  },
  failures: {
    work: ({ files }) => files.unlink('none'),
    savepoint: 'it copies what it has in memory',
    rollback: block,
    tpcBegin: 'it only refuses work from then on',
    commit({ files }) {
      files.writeFile('nobody awaits this', '').catch(() => undefined);
    },
    async tpcVote({ files }) {
      const [staged] = await files.listStaged();
      await rm(staged!.path);
    },
    tpcFinish({ folder, files, names }) {
      const target = folder.join(names.at(-1)!);
      afterVote(() => mkdir(target).then(() => undefined));
      // What a person does.
      return async () => {
        await rmdir(target);
        await files.cleanUp({ isCommitted: () => false, olderThanMs: 0 });
      };
    },
    tpcAbort(place) {
      let heal: (() => Promise<void>) | undefined;
      afterVote(async () => {
        heal = await block(place);
      });
      return () => heal?.();
    },
    abort: block,
  },
  conflict: ({ folder, names }) => writeFile(folder.join(names.at(-1)!), 'somebody else'),
  errors: {
    transient: [new FileConflictError('a file was changed')],
    permanent: [Object.assign(new Error('no such file'), { code: 'ENOENT' })],
  },
};

const test = suite('a file session is a data manager');
for (const { name, skip, run } of dataManagerConformance(subject)) {
  const isHeld = name.includes('what is not held is undone');
  const reason = isHeld ? 'what is staged is held then, until a person knows the outcome' : skip;
  if (reason === undefined) test(name, run);
  else test.skipOnPlatform(reason, name);
}
