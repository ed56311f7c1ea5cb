/** `recover`: one pass of recovery, as every process of the application runs it by itself. */
import { TransactionCoordinator, type RecoveryReport, type SessionCoordinator } from '../../coordinator/index.ts';
import type { Command, Context } from '../command.ts';
import { UNREACHABLE } from '../exit.ts';
import { saySummary, sayTransactions, sayUnreached, transactionJson, unreachedJson } from '../print.ts';
import { ofStore, openStore, survey } from '../survey.ts';
import { names } from '../table.ts';
import { exitCodeOf } from '../verdict.ts';

export const recover: Command = {
  name: 'recover',
  takesGid: false,
  takesForce: false,
  summary: 'ends what dead processes have left prepared, as it was decided',
  help: `One pass of recovery, the same that runs by itself in every process of the
application; it may run at any time, on any machine, and beside others.
Processes whose lease has run out lose their right to decide. Of those, and of
processes that are gone, what was decided to commit is committed, and all else
is rolled back. What belongs to living processes is left alone. Then shows what
is left (ends with 1 where that is in doubt).`,
  async run(context) {
    const { deployment, secrets, say } = context;
    await openStore(deployment, secrets);
    const coordinator = new TransactionCoordinator({
      app: deployment.app,
      decisionLog: deployment.log,
      node: `npx unanimous recover, by ${context.by}`,
      recovery: false,
      onError: (error) => say(secrets.reason(error)),
    });
    for (const { resource } of deployment.resources) (coordinator as SessionCoordinator).recovers?.(resource);
    const report = await ofStore(deployment, secrets, () => coordinator.recover());
    sayReport(context, report);
    const found = await survey(deployment, secrets);
    await ofStore(deployment, secrets, () => coordinator.close());
    if (found.transactions.length > 0) say();
    sayTransactions(say, found.transactions);
    if (found.transactions.length > 0) say();
    sayUnreached(say, found.resources);
    saySummary(say, found);
    const failures = report.failures.map(({ resource, error }) => ({ resource, error: secrets.reason(error) }));
    const exitCode = exitCodeOf(found);
    return {
      exitCode: failures.length > 0 && exitCode === 0 ? UNREACHABLE : exitCode,
      json: {
        fenced: report.fenced,
        committed: report.committed,
        rolledBack: report.rolledBack,
        failures,
        transactions: found.transactions.map(transactionJson),
        unreachable: unreachedJson(found.resources),
      },
    };
  },
};

function sayReport({ say, secrets }: Context, { fenced, committed, rolledBack, failures }: RecoveryReport): void {
  if (fenced.length > 0)
    say(`silent for longer than their lease, and not allowed to decide any more: ${names(fenced)}`);
  const ended = [
    ...committed.map(({ gid, branch }) => `committed    ${gid}  ${branch}`),
    ...rolledBack.map(({ gid, branch }) => `rolled back  ${gid}  ${branch}`),
  ];
  for (const line of ended.sort()) say(line);
  for (const { resource, error } of failures) say(`failed       ${resource}  ${secrets.reason(error)}`);
  if (committed.length + rolledBack.length + failures.length === 0) say('recovery found nothing to end');
}
