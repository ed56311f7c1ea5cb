// Protects a commit from sessions that come when it has begun, and says what marking a session as changed does where there is nothing to mark.
import { TransactionClosed, TransactionStateError, markChanged, sessionState, transaction } from 'unanimous';
import { FileSession } from 'unanimous/files';
import { recording } from '../../coordinator/recording.ts';
import { assert, suite } from '../../support/suite.ts';
import { Folder } from './setup.ts';

const test = suite('sessions that come late');

let folder: Folder;
let files: FileSession;
test.before.each(async () => {
  folder = await Folder.open();
  files = new FileSession({ root: folder.path });
});
test.after.each(() => folder.remove());

test('a session does not join once the phases of the commit have begun', async () => {
  let late: Promise<unknown> | undefined;
  await transaction.run((txn) => {
    const write = (): void => void (late = assert.rejects(files.writeFile('a', 'late'), TransactionClosed));
    txn.join(recording([], 'other', { does: { tpcVote: write } }));
  });
  assert.match(((await late) as Error).message, 'is committing, so nothing is done');
  assert.equal(await folder.content(), {});
});

test('markChanged joins a session, though without work it has nothing to commit, and is refused where it is read-only', async () => {
  await transaction.run(() => {
    markChanged(files);
    assert.is(sessionState(files), 'active');
  });
  const readOnly = transaction.run(() => markChanged(files), { readOnly: true });
  await assert.rejects(readOnly, TransactionStateError);
});
