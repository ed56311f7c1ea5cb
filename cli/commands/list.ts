/** `list`: every transaction of which something is left. */
import type { Command } from '../command.ts';
import { sayTransactions, saySummary, sayUnreached, transactionJson, unreachedJson } from '../print.ts';
import { survey } from '../survey.ts';
import { exitCodeOf } from '../verdict.ts';

export const list: Command = {
  name: 'list',
  takesGid: false,
  takesForce: false,
  summary: 'every transaction that is prepared or decided, what that means, and what to do',
  help: `Shows a line for each transaction of which something is prepared, or whose
decision is still written down: its process, for how long it has been prepared
(? where the server doesn't tell, as MySQL), where, and how it was decided.
Below it, what that means, and what to do. A transaction that its living
process has had prepared for less than a minute is under way, not in doubt.
Changes nothing.`,
  async run({ deployment, secrets, say }) {
    const found = await survey(deployment, secrets);
    sayTransactions(say, found.transactions);
    if (found.transactions.length > 0) say();
    sayUnreached(say, found.resources);
    saySummary(say, found);
    const json = {
      app: found.app,
      store: found.store,
      transactions: found.transactions.map(transactionJson),
      unreachable: unreachedJson(found.resources),
      isComplete: !found.isCut,
    };
    return { exitCode: exitCodeOf(found), json };
  },
};
