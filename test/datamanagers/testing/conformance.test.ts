import { ConfigurationError, MemoryStore, TransactionCoordinator } from 'unanimous';
import { ConformanceError, type ConformanceSubject, dataManagerConformance } from 'unanimous/testing';
import { assert, suite } from '../../support/suite.ts';
import { memorySubject } from '../memory/subject.ts';

const test = suite('the conformance suite');
const subject = memorySubject('recoverable');

function namesOf(...subjects: ConformanceSubject<MemoryStore>[]): string[][] {
  return subjects.map((each) => dataManagerConformance(each).map(({ name }) => name));
}

test('has a check of each name once, and the same ones each time', () => {
  const [first, second] = namesOf(subject, subject);
  assert.equal(first, second);
  assert.is(new Set(first).size, first!.length);
});

test('has checks of what a data manager can do only where it can, and of what it can not where it can not', () => {
  const { capabilities } = subject;
  const without = { ...capabilities, savepoints: false, recoverable: false, onePhase: false };
  const [all, fewer] = namesOf(subject, { ...subject, capabilities: without });
  assert.ok(all!.includes('savepoints: the rollback undoes what came after it, and nothing else'));
  assert.not.ok(fewer!.some((name) => name.startsWith('recovery: ') || name.startsWith('one phase: ')));
  assert.equal(
    fewer!.filter((name) => name.startsWith('savepoints: ')),
    [
      'savepoints: it has none, so one is refused, and nothing is stored or held afterwards',
      'savepoints: it has none, so an optimistic one leaves it alone',
    ],
  );
});

test('has a reason for what it skips, which is the author’s where there is one', async () => {
  const { failures: _failures, conflict: _conflict, errors: _errors, recovery: _recovery, ...bare } = subject;
  const checks = dataManagerConformance({ ...bare, failures: { commit: 'nobody can' } });
  const reasons = new Map(checks.filter(({ skip }) => skip !== undefined).map(({ name, skip }) => [name, skip]));
  assert.is(reasons.get('failures: failing in commit it says no: nothing is stored and nothing is held'), 'nobody can');
  assert.is(
    reasons.get('failures: failing in tpcVote it says no: nothing is stored and nothing is held'),
    'the subject does not say how tpcVote can be made to fail',
  );
  assert.is(
    reasons.get('retry: errors that may pass are told from those that will not'),
    'the subject names no errors',
  );
  assert.is(reasons.get('recovery: to end what is not prepared does nothing'), 'the subject has no `recovery`');
});

test('never passes what it would skip', async () => {
  const skipped = dataManagerConformance({ ...subject, conflict: 'nobody else is there' }).filter(
    ({ skip }) => skip !== undefined,
  );
  assert.ok(skipped.length > 1);
  for (const { run, skip } of skipped) {
    const error = await assert.rejects(run(), ConformanceError);
    assert.is(error.message, `not checked: ${skip}`);
  }
});

test('opens a resource for each check, and closes it also where the check fails', async () => {
  const open: MemoryStore[] = [];
  const broken: ConformanceSubject<MemoryStore> = {
    ...subject,
    timeoutMs: 50,
    open() {
      const store = new MemoryStore();
      open.push(store);
      return store;
    },
    close: (store) => open.splice(open.indexOf(store), 1),
    write: () => undefined,
  };
  const checks = dataManagerConformance(broken).slice(0, 8);
  for (const { run } of checks) {
    await run().catch(() => undefined);
    assert.is(open.length, 0);
  }
});

test('says what went wrong when close() fails, and keeps the failure of the check where both do', async () => {
  const close = (): never => {
    throw new Error('can not be closed');
  };
  const [check] = dataManagerConformance({ ...subject, close });
  await assert.rejects(check!.run(), { message: 'can not be closed' });
  const [failing] = dataManagerConformance({ ...subject, close, write: () => undefined });
  const error = await assert.rejects(failing!.run(), ConformanceError);
  assert.equal(
    (error as { suppressed?: Error[] }).suppressed?.map(({ message }) => message),
    ['can not be closed'],
  );
});

test('refuses a resource in which something is stored already', async () => {
  const [check] = dataManagerConformance({ ...subject, stored: () => ['old'] });
  const error = await assert.rejects(check!.run(), ConformanceError);
  assert.match(error.message, /with nothing stored; there was old/);
});

test('says which rule is broken, where it stands, and what was seen', async () => {
  const unbroken = dataManagerConformance({ ...subject, stored: () => [] });
  const check = unbroken.find(({ name }) => name === 'commit: nothing is stored before it, and all afterwards');
  const error = await assert.rejects(check!.run(), ConformanceError);
  assert.is(
    error.message,
    'after the commit one, two must be stored; there was nothing; coordinator/types.ts says: "All have voted yes: make it so."',
  );
  assert.is(error.rule?.source, 'coordinator/types.ts');
});

test('works with a coordinator of one’s own', async () => {
  const coordinator = new TransactionCoordinator();
  const { failures: _failures, conflict: _conflict, ...plain } = memorySubject('volatile');
  const checks = dataManagerConformance({ ...plain, coordinator, open: () => new MemoryStore({ coordinator }) });
  for (const { skip, run } of checks) if (skip === undefined) await run();
});

test('refuses a subject that is none, by name', () => {
  const refuses = (wrong: object, message: RegExp): void =>
    assert.throws(
      () => dataManagerConformance({ ...subject, ...wrong }),
      (error: unknown) => error instanceof ConfigurationError && message.test(error.message),
    );
  refuses({ writes: () => undefined }, /no option 'writes'/);
  refuses({ write: undefined }, /lacks write/);
  refuses({ capabilities: { savepoints: true } }, /lacks readOnlyVote/);
  refuses({ capabilities: { ...subject.capabilities, magic: true } }, /no option 'magic'/);
  refuses({ failures: { vote: () => undefined } }, /no option 'vote'/);
  refuses({ failures: { tpcVote: '' } }, /a function, or a string that says why/);
  refuses({ recovery: {} }, /lacks resource/);
  refuses({ errors: { transient: ['no error'], permanent: [] } }, /'errors' must be/);
  refuses({ timeoutMs: 0 }, /timeoutMs/);
});
