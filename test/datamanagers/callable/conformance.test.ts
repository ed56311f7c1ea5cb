import { onAbort, onFinish, onVote, outboxed } from 'unanimous';
import { suite } from '../../support/suite.ts';
import { conform } from '../testing/conform.ts';
import { raise } from '../../coordinator/recording.ts';

/** What finish functions have written. */
type Written = string[];

const test = suite('callables are a data manager');
conform<Written>(test, {
  capabilities: {
    savepoints: true,
    readOnlyVote: true,
    lastResource: false,
    onePhase: false,
    recoverable: false,
    readsOwnWrites: false,
  },
  open: () => [],
  close: () => undefined,
  write: (written, value) => onFinish(() => void written.push(value)),
  read: () => onVote(() => undefined),
  stored: (written) => written,
  failures: {
    work: () => onFinish('no function' as never),
    savepoint: 'it counts what there is',
    rollback: 'it drops what came since',
    tpcBegin: 'it only refuses work from then on',
    commit: 'nothing is handed over before the vote',
    tpcVote: () => onVote(() => raise(new Error('no')), { sortKey: '~~callable' }),
    tpcFinish: () => onFinish(() => raise(new Error('boom'))),
    tpcAbort: () => onAbort(() => raise(new Error('boom'))),
    abort: () => onAbort(() => raise(new Error('boom'))),
  },
  conflict() {
    onVote(() => raise(new Error('busy')), { shouldRetry: (error) => error.message === 'busy' });
  },
});

let published: Written = [];
const publish = outboxed('conformance', (value: string) => {
  if (value === 'boom') throw new Error('boom');
  published.push(value);
});

conform<Written>(suite('outboxed functions are a data manager'), {
  capabilities: {
    savepoints: true,
    readOnlyVote: true,
    lastResource: false,
    onePhase: false,
    recoverable: false,
    readsOwnWrites: false,
  },
  open: () => (published = []),
  close: () => undefined,
  write: (_written, value) => void publish(value),
  read: () => onVote(() => undefined),
  stored: (written) => written,
  failures: {
    work: () => void publish(undefined as never),
    savepoint: 'it counts what there is',
    rollback: 'it drops what came since',
    tpcBegin: 'it only refuses work from then on',
    commit: 'nothing is handed over before the vote',
    tpcVote: 'it says no only where a decision store was away',
    tpcFinish: () => void publish('boom'),
    tpcAbort: 'it only drops what there is',
    abort: 'it only drops what there is',
  },
});
