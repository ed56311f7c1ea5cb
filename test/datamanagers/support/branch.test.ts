// Protects what the sessions of mails and files say where a transaction has left their part behind.
import { TransactionClosed, transaction } from 'unanimous';
import { FileSession } from 'unanimous/files';
import { assert, suite } from '../../support/suite.ts';
import { Folder } from '../files/setup.ts';
import { failureOf } from '../sql/helpers.ts';

const test = suite('sessions that a savepoint’s rollback has taken out of their transaction');

for (const doomed of [false, true]) {
  test(`what was under way then is refused, and nothing is written: the transaction is ${doomed ? 'doomed' : 'active'}`, async () => {
    const folder = await Folder.open();
    const files = new FileSession({ root: folder.path });
    await transaction.run(async (txn) => {
      const savepoint = await txn.savepoint();
      const written = [failureOf(files.writeFile('a', '1')), failureOf(files.writeFile('b', '2'))];
      if (doomed) txn.doom();
      await savepoint.rollback();
      const [, error] = await Promise.all(written);
      assert.instance(error, TransactionClosed);
      assert.match(error.message, 'is ending, so nothing more is done');
      await transaction.abort();
    });
    assert.equal(await folder.content(), {});
    await folder.remove();
  });
}
