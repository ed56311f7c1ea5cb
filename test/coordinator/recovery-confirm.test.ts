// Protects what is prepared from a decision that a store shows and may still lose: nothing is committed by it before the store has said that
// it is there for good.
import {
  type Decision,
  DecisionFailedError,
  MemoryDecisionLog,
  MemoryDecisionStore,
  MemoryStore,
  TransactionCoordinator,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { plain } from '../datamanagers/sql/helpers.ts';

const test = suite('decisions that are there for good');

/** A store that may have lost what it shows. */
class Log extends MemoryDecisionLog {
  unconfirmed: Error | undefined = undefined;
  confirmed = 0;
  /** The decision is written, and the answer to that lost. */
  losesAnswers = false;

  override async decide(decision: Decision): Promise<void> {
    await super.decide(decision);
    if (this.losesAnswers) throw new Error('the answer was lost');
  }

  async confirm(): Promise<void> {
    if (this.unconfirmed !== undefined) throw this.unconfirmed;
    this.confirmed++;
  }
}

/** A process over two stores, one of which can't be reached behind the decision. */
function processOver(log: Log) {
  const coordinator = new TransactionCoordinator({ decisionLog: log, recovery: false, decisionTimeoutMs: 100 });
  const stores = ['a', 'b'].map((name) => new MemoryStore({ name, role: 'recoverable', coordinator }));
  const write = (): void => stores.forEach((store) => store.set('k', 1));
  return { coordinator, stores, write };
}

test('a process commits nothing by a decision whose answer it has lost, until that is said to be there for good', async () => {
  const log = new Log(new MemoryDecisionStore());
  const { coordinator, stores, write } = processOver(log);
  log.losesAnswers = true;
  log.unconfirmed = new Error('the standby is away');
  const error = await assert.rejects(coordinator.run(write, { attempts: 1 }));
  assert.match(error.code, /IN_DOUBT|OUTCOME_UNKNOWN/);
  await assert.rejects(coordinator.recover(), { message: 'the standby is away' });
  for (const store of stores) assert.is((await store.listPrepared()).length, 1);
  log.unconfirmed = undefined;
  await coordinator.recover();
  for (const store of stores) assert.is(store.committed.get('k'), 1);
  assert.is(log.confirmed, 1);
  await coordinator.close();
});

test('where the answer is lost and the decision is there for good, the transaction is committed', async () => {
  const log = new Log(new MemoryDecisionStore());
  const { coordinator, stores, write } = processOver(log);
  log.losesAnswers = true;
  await coordinator.run(write, { attempts: 1 });
  for (const store of stores) assert.is(store.committed.get('k'), 1);
  assert.is(log.confirmed, 1);
  await coordinator.close();
});

test('nothing is asked where there is nothing to commit', async () => {
  const log = new Log(new MemoryDecisionStore());
  const { coordinator, write } = processOver(log);
  await coordinator.run(write);
  await assert.rejects(
    coordinator.run((txn) => {
      write();
      txn.join(plain('~', { tpcVote: () => Promise.reject(new Error('no')) }));
    }),
    { message: 'no' },
  );
  await coordinator.recover();
  assert.is(log.confirmed, 0);
  await coordinator.close();
});

test('nor where a decision whose answer was lost turns out not to have been written, or what nobody has decided is rolled back', async () => {
  const log = new Log(new MemoryDecisionStore());
  log.unconfirmed = new Error('the standby is away');
  const { coordinator, stores, write } = processOver(log);
  log.decide = () => Promise.reject(new Error('the line is cut'));
  const error = await assert.rejects(coordinator.run(write, { attempts: 1 }), DecisionFailedError);
  assert.match(error.message, 'the line is cut');
  const [a] = stores as [MemoryStore];
  const ended: string[] = [];
  a.listPrepared = async () => [{ gid: `unanimous:${log.store.identity}:dead:1`, branch: 'a' }];
  a.rollbackPrepared = async ({ gid }) => void ended.push(gid.split(':').slice(2).join(':'));
  await coordinator.recover();
  assert.equal(ended, ['dead:1']);
  assert.is(a.committed.size, 0);
  await coordinator.close();
});
