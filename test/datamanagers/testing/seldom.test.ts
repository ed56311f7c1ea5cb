// Protects authors whose data manager fails where nothing may: the conformance suite says which rule that breaks, check by check.
import { type MemoryStore, transaction } from 'unanimous';
import { type ConformanceSubject, dataManagerConformance } from 'unanimous/testing';
import { assert, suite } from '../../support/suite.ts';
import { memorySubject } from '../memory/subject.ts';
import type { Victim } from './mutant.ts';

const test = suite('data managers that fail where nothing may');

type Subject = ConformanceSubject<MemoryStore>;

/** Long enough for what is done in memory, and short for what never answers. */
const timeoutMs = 100;
const never = (): Promise<never> => new Promise(() => undefined);

/** A subject whose data managers are changed when they join. */
function changing(change: (manager: Victim) => void): Subject {
  const subject = memorySubject('volatile');
  return {
    ...subject,
    timeoutMs,
    write(store, value) {
      const before = transaction.current?.joined(store);
      subject.write(store, value);
      const joined = transaction.current?.joined(store);
      if (joined !== undefined && joined !== before) change(joined as Victim);
    },
  };
}

/** A subject that does something else than to refuse work outside of any transaction. */
function workingOutside(work: () => unknown): Subject {
  const subject = memorySubject('volatile');
  return {
    ...subject,
    timeoutMs,
    write: (store, value) => (transaction.current === undefined ? work() : subject.write(store, value)),
  };
}

/** Runs every check that applies, or those whose name begins so; returns what they have failed with. */
async function failures(subject: Subject, start = ''): Promise<string[]> {
  const said: string[] = [];
  for (const { name, skip, run } of dataManagerConformance(subject)) {
    if (skip !== undefined || !name.startsWith(start)) continue;
    await Promise.resolve()
      .then(run)
      .catch((error: Error) => said.push(error.message));
  }
  return said;
}

/** Asserts that something was said, and each time what is given. */
function assertSaid(said: readonly string[], pattern: RegExp): void {
  assert.ok(said.length > 0);
  for (const each of said) assert.match(each, pattern);
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

test('an abort that fails when it comes once more, after a failed commit, is told by that rule', async () => {
  const failing = (manager: Victim): void => {
    const { abort, tpcAbort } = manager;
    let isTold = false;
    manager.tpcAbort = (txn) => {
      isTold = true;
      return tpcAbort.call(manager, txn);
    };
    manager.abort = (txn) => {
      void abort.call(manager, txn);
      if (isTold && txn.status === 'aborting') throw new Error('once was enough');
    };
  };
  const said = await failures(changing(failing), 'others: the no of another one behind in tpcVote');
  assertSaid(said, /^the abort after a failed commit failed \(Error: once was enough\); .*calls `abort` once more"$/);
});

test('an undoing that never answers is told by that, and not as one that throws', async () => {
  const said = await failures(
    changing((manager) => (manager.tpcAbort = never)),
    'abort: abort and tpcAbort may come before tpcBegin',
  );
  assertSaid(said, /^tpcAbort\(\) before tpcBegin was not answered within 100 ms; .*"Every call is answered/);
});

test('so is recovery that never answers', async () => {
  const subject = memorySubject('recoverable');
  const hanging: Subject = {
    ...subject,
    timeoutMs,
    recovery: { ...subject.recovery!, resource: (store) => Object.assign(store, { listPrepared: never }) },
    held: () => 0,
  };
  assertSaid(
    await failures(hanging, 'recovery: a branch is listed'),
    /^listPrepared\(\) was not answered within 100 ms; /,
  );
});

test('work outside of a transaction is told by what becomes of it: an error that is none, or no answer', async () => {
  const outside = 'joining: outside of a transaction no work is done';
  for (const [work, pattern] of [
    [() => Promise.reject(undefined), /^work outside .* NoTransaction; it failed with Error: undefined was thrown; /],
    [() => Promise.reject('a text'), /^work outside .* NoTransaction; it failed with 'a text'; /],
    [() => undefined, /^work outside .* NoTransaction; it was accepted; /],
    [never, /^write\(one\) was not answered within 100 ms; /],
  ] as const) {
    assertSaid(await failures(workingOutside(work), outside), pattern);
  }
});

test('a resource in which something is stored when it is opened checks nothing, and that is told', async () => {
  const subject = memorySubject('volatile');
  const full: Subject = {
    ...subject,
    async open() {
      const store = await subject.open();
      await transaction.run(() => store.set('left', true), { propagation: 'requires-new' });
      return store;
    },
  };
  assertSaid(await failures(full), /^open\(\) must open a resource with nothing stored; there was left$/);
});

test('a check in which it never comes to what it looks at fails, rather than to say that all is well', async () => {
  const failing = (manager: Victim): void => {
    manager.tpcBegin = () => {
      throw new Error('never begun');
    };
  };
  const said = await failures(changing(failing), 'abort: abort and tpcAbort may come after tpcVote');
  assertSaid(said, /^nothing was checked after tpcVote: it never came to that$/);
});
