// The classical mistake, for the counter-proof: a decision store whose recovery trusts the lease. Whoever has let it run out is taken
// for dead, and what it has prepared is rolled back where no decision is written; but nobody takes its right to decide away before. So
// it can decide afterwards, when it was only paused.
import type { DecisionNode } from 'unanimous';
import { PgDecisionLog } from 'unanimous/pg';

export class LeaseOnlyLog extends PgDecisionLog {
  /** Who counts as alive: then there is nobody to be fenced, and all others count as dead. */
  override async nodes(): Promise<DecisionNode[]> {
    return (await super.nodes()).filter(({ isExpired }) => !isExpired);
  }
}
