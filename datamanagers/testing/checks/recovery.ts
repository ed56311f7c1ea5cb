/** What is prepared outlives the transaction: it is found by its id, and ended as somebody else decides. */
import type { Transaction } from '../../../coordinator/transaction.ts';
import type { RecoverableResource } from '../../../coordinator/types.ts';
import type { Xid } from '../../../coordinator/xid.ts';
import { RULES } from '../rules.ts';
import type { Capabilities } from '../subject.ts';
import { type AnySubject, type Trial, demand } from '../trial.ts';
import type { Check } from './check.ts';
import { outcomeUnknown } from './others.ts';

const appliesTo = ({ recoverable }: Capabilities): boolean => recoverable;
const noRecovery = 'the subject has no `recovery`';

const skip = ({ recovery }: AnySubject): string | undefined => (recovery === undefined ? noRecovery : undefined);

function skipWithout(what: 'crash' | 'foreign'): (subject: AnySubject) => string | undefined {
  return ({ recovery }) => {
    if (recovery === undefined) return noRecovery;
    const given = recovery[what];
    if (typeof given === 'function') return undefined;
    return given ?? `the subject has no recovery.${what}`;
  };
}

export const recoveryChecks: readonly Check[] = [
  {
    name: 'recovery: a branch is listed from its vote to its end, by the transaction’s id and the name of the resource',
    appliesTo,
    skip,
    run: (trial) =>
      trial.transaction(async (txn) => {
        await trial.write('one');
        await expectListed(trial, 'before the vote');
        const listed = trial.look('after its vote', () => expectListed(trial, 'after its vote', xidOf(trial, txn)));
        trial.other(txn, 'behind', { changed: true, does: { tpcVote: listed } });
        await trial.commit(txn);
        await expectListed(trial, 'after the commit');
      }),
  },
  {
    name: 'recovery: where it is not known whether the last resource has committed, it stays prepared and gives back all else',
    appliesTo,
    skip,
    run: (trial) => endedByOthers(trial, 'commitPrepared', false),
  },
  ...(['commitPrepared', 'rollbackPrepared'] as const).map((end): Check => ({
    name: `recovery: after a crash ${end} ends what was prepared, and does nothing when it comes again`,
    appliesTo,
    skip: skipWithout('crash'),
    run: (trial) => endedByOthers(trial, end, true),
  })),
  {
    name: 'recovery: what was rolled back can be written again',
    appliesTo,
    skip,
    async run(trial) {
      await endedByOthers(trial, 'rollbackPrepared', false);
      await trial.transaction(async (txn) => {
        await trial.write('one');
        await trial.commit(txn);
      });
      await trial.expectStored(
        RULES.rollbackPrepared,
        'after a rollback of what was prepared, and the same work again,',
        'one',
      );
    },
  },
  {
    name: 'recovery: to end what is not prepared does nothing',
    appliesTo,
    skip,
    run: (trial) =>
      trial.transaction(async (txn) => {
        const xid = xidOf(trial, txn);
        for (const end of ['commitPrepared', 'rollbackPrepared'] as const) {
          await endOne(trial, end, xid);
        }
        await trial.write('one');
        await trial.commit(txn);
        await trial.expectStored(RULES.recoverable, 'after the commit', 'one');
      }),
  },
  {
    name: 'recovery: what somebody else has prepared is not listed',
    appliesTo,
    skip: skipWithout('foreign'),
    async run(trial) {
      const foreign = trial.subject.recovery!.foreign as (resource: unknown) => Promise<() => Promise<unknown>>;
      const end = await trial.within('recovery.foreign()', () => foreign(trial.resource));
      try {
        await expectListed(trial, 'while somebody else has prepared something');
      } finally {
        await trial.within('the end of what is foreign', end);
      }
    },
  },
];

function resourceOf(trial: Trial): RecoverableResource {
  return trial.subject.recovery!.resource(trial.resource);
}

function xidOf(trial: Trial, txn: Transaction): Xid {
  return { gid: txn.id, branch: resourceOf(trial).name };
}

function listed(trial: Trial): Promise<Xid[]> {
  return trial.must(RULES.listPrepared, 'listPrepared()', () => trial.outside(() => resourceOf(trial).listPrepared()));
}

async function expectListed(trial: Trial, when: string, ...xids: readonly Xid[]): Promise<void> {
  const text = (list: readonly Xid[]): string =>
    list.map(({ gid, branch }) => `${gid} of ${branch}`).join(', ') || 'nothing';
  const found = await listed(trial);
  demand(text(found) === text(xids), RULES.listPrepared, `${when} ${text(xids)} must be listed; it was ${text(found)}`);
}

function endOne(trial: Trial, end: 'commitPrepared' | 'rollbackPrepared', xid: Xid): Promise<void> {
  return trial.must(RULES[end], `${end}()`, () => trial.outside(() => resourceOf(trial)[end](xid)));
}

/** Ends whatever is prepared, where something can be. */
export async function endPrepared(trial: Trial, end: 'commitPrepared' | 'rollbackPrepared'): Promise<void> {
  if (trial.subject.recovery === undefined) return;
  for (const xid of await listed(trial)) {
    await endOne(trial, end, xid);
  }
}

/**
 * Leaves a transaction prepared, as one whose last resource lost its reply, where asked for with a crash at that moment; then ends
 * it by its id, twice.
 */
async function endedByOthers(
  trial: Trial,
  end: 'commitPrepared' | 'rollbackPrepared',
  crashes: boolean,
): Promise<void> {
  let xid: Xid | undefined;
  await trial.transaction(async (txn) => {
    await trial.write('one');
    xid = xidOf(trial, txn);
    const tpcVote = async (): Promise<void> => {
      const crash = trial.subject.recovery!.crash;
      if (crashes && typeof crash === 'function')
        await trial.outside(() => trial.within('recovery.crash()', () => crash(trial.resource)));
      outcomeUnknown();
    };
    trial.other(txn, 'behind', { lastResource: true, changed: true, does: { tpcVote } });
    const error = await trial.failingCommit(txn, RULES.hold, 'where the outcome is not known');
    const { code } = error as { code?: unknown };
    demand(
      code === 'ERR_TXN_IN_DOUBT',
      RULES.hold,
      `what is prepared must be held; the commit failed with ${error.name}: ${error.message}`,
    );
  });
  await trial.expectStored(RULES.recoverable, 'while it is prepared');
  await expectListed(trial, 'while it is prepared', xid!);
  for (const time of ['once', 'twice']) {
    await endOne(trial, end, xid!);
    const left = end === 'commitPrepared' ? ['one'] : [];
    await trial.expectStored(RULES[end], `after ${end} was called ${time}`, ...left);
    await expectListed(trial, `after ${end} was called ${time}`);
  }
  await trial.expectNothingHeld(`after ${end}`);
}
