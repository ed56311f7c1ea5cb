// Protects authors of data managers that are built unlike ours: with sort keys that are functions, without savepoints, without reading; the
// conformance suite takes them as they are, and says what it leaves out.
import { type MemoryStore, transaction } from 'unanimous';
import { type ConformanceSubject, dataManagerConformance } from 'unanimous/testing';
import { assert, suite } from '../../support/suite.ts';
import { memorySubject } from '../memory/subject.ts';
import type { Victim } from './mutant.ts';

const test = suite('data managers that are built unlike ours');

type Subject = ConformanceSubject<MemoryStore>;

/** A subject whose data managers are changed when they join. */
function changing(subject: Subject, change: (manager: Victim) => void): Subject {
  return {
    ...subject,
    write(store, value) {
      const before = transaction.current?.joined(store);
      subject.write(store, value);
      const joined = transaction.current?.joined(store);
      if (joined !== undefined && joined !== before) change(joined as Victim);
    },
  };
}

/** Runs every check that applies; returns the reasons of the others. */
async function conform(subject: Subject): Promise<Map<string, string>> {
  const reasons = new Map<string, string>();
  let checked = 0;
  for (const { name, skip, run } of dataManagerConformance(subject)) {
    if (skip === undefined) {
      checked++;
      await run();
    } else reasons.set(name, skip);
  }
  assert.ok(checked > 10);
  return reasons;
}

test('a sort key that is a function conforms', async () => {
  await conform(
    changing(memorySubject('volatile'), (manager) => {
      const { sortKey } = manager;
      Object.defineProperty(manager, 'sortKey', { value: () => sortKey });
    }),
  );
});

test('one without savepoints conforms: it is refused where one is needed, and left alone where not', async () => {
  const subject = memorySubject('volatile');
  const { rollback: _rollback, savepoint: _savepoint, ...failures } = subject.failures!;
  await conform(
    changing(
      { ...subject, failures, capabilities: { ...subject.capabilities, savepoints: false } },
      (manager) => void Object.defineProperty(manager, 'savepoint', { value: undefined }),
    ),
  );
});

test('what takes reading or another process is left out where the subject can not do it, and said', async () => {
  const { read: _read, recovery, ...rest } = memorySubject('recoverable');
  const { crash: _crash, foreign: _foreign, ...other } = recovery!;
  const reasons = await conform({ ...rest, recovery: other });
  const given = new Set(reasons.values());
  assert.ok(given.has('the subject has no read()'));
  assert.ok(given.has('the subject has no recovery.crash'));
  const last = memorySubject('last-resource');
  const { read: _lastRead, ...unread } = last;
  const lastReasons = await conform(unread);
  assert.is(
    lastReasons.get('last resource: one that has changed nothing stands in nobody’s way'),
    'the subject has no read()',
  );
});
