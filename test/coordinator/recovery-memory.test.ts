// Protects a process that recovers for months beside something that fails each time with other words: what it has reported is not kept for ever.
import { RecoveryLoop } from '../../coordinator/recovery-loop.ts';
import type { Recovery, RecoveryReport } from '../../coordinator/recovery.ts';
import { assert, suite } from '../support/suite.ts';

const test = suite('what a recovery loop remembers');

/** As many as it remembers, and two. */
const FAILURES = 102;

test('the same failure is reported once in a while, and again where so many others came that it is not known any more', async () => {
  const reported: string[] = [];
  let passes = 0;
  const recovery: Pick<Recovery, 'pass' | 'stop'> = {
    pass() {
      const numbers = passes++ === 0 ? Array.from({ length: FAILURES }, (_, index) => index) : [0, FAILURES - 1];
      const failures = numbers.map((number) => ({ resource: 'bank', error: new Error(`away ${number}`) }));
      return Promise.resolve({ failures } as unknown as RecoveryReport);
    },
    stop: () => undefined,
  };
  const report = ({ message }: Error): void => void reported.push(message);
  const loop = new RecoveryLoop(recovery as Recovery, { everyMs: 1, report, onPass: undefined });
  loop.start();
  await assert.eventually(() => assert.ok(passes >= 3));
  await loop.stop();
  const times = (message: string): number => reported.filter((each) => each === message).length;
  assert.is(times(`away ${FAILURES - 1}`), 1);
  assert.is(times('away 0'), 2);
});
