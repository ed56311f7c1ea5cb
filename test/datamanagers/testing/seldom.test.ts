// Protects authors whose data manager fails where nothing may: the conformance suite says which rule that breaks, check by check.
import { type MemoryStore, transaction } from 'unanimous';
import { type ConformanceSubject, dataManagerConformance } from 'unanimous/testing';
import { assert, suite } from '../../support/suite.ts';
import { memorySubject } from '../memory/subject.ts';
import type { Victim } from './mutant.ts';

const test = suite('data managers that fail where nothing may');

type Subject = ConformanceSubject<MemoryStore>;

/** A subject whose data managers are changed when they join. */
function changing(change: (manager: Victim) => void): Subject {
  const subject = memorySubject('volatile');
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

/** Runs every check that applies; returns what they have failed with. */
async function failures(subject: Subject): Promise<string[]> {
  const said: string[] = [];
  for (const { skip, run } of dataManagerConformance(subject)) {
    if (skip !== undefined) continue;
    await Promise.resolve()
      .then(run)
      .catch((error: Error) => said.push(error.message));
  }
  return said;
}

test('an abort that undoes its work and then fails is told by the rule that it breaks', async () => {
  const failing = (manager: Victim): void => {
    const abort = manager.abort.bind(manager);
    manager.abort = (txn) => {
      void abort(txn);
      throw new Error('undone, and yet it fails');
    };
  };
  const said = await failures(changing(failing));
  assert.ok(
    said.some((message) => message.includes('an abort failed')),
    said.join('\n'),
  );
});

test('one that does nothing wrong fails no check', async () => {
  assert.equal(await failures(changing(() => undefined)), []);
});
