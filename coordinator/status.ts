/** The states of a transaction and the only ways between them. */

/**
 * - `active`: work is accepted.
 * - `doomed`: work is accepted, but the transaction can only be aborted (zope 51).
 * - `committing`: the phases of the commit run; nothing may join (zope 48, 59).
 * - `committed`: every resource has committed, or is bound to.
 * - `commit failed`: nothing was committed; {@link Transaction.abort} ends it (zope 54, 56).
 * - `aborting`, `aborted`: rolled back by {@link Transaction.abort}.
 * - `in doubt`: all voted yes and some finished; the rest is bound to follow, but has not confirmed it.
 */
export type Status =
  | 'active'
  | 'doomed'
  | 'committing'
  | 'committed'
  | 'commit failed'
  | 'aborting'
  | 'aborted'
  | 'in doubt';

type Next = Readonly<Partial<Record<Status, true>>>;

/** From each status, the statuses that may follow. */
const TRANSITIONS: Readonly<Record<Status, Next>> = {
  active: { doomed: true, committing: true, 'commit failed': true, aborting: true },
  doomed: { 'commit failed': true, aborting: true },
  committing: { committed: true, 'commit failed': true, 'in doubt': true },
  'commit failed': { aborting: true },
  aborting: { aborted: true },
  committed: {},
  aborted: {},
  'in doubt': { committed: true, aborted: true },
};

/** True when `to` may follow `from`. */
export function mayFollow(from: Status, to: Status): boolean {
  return TRANSITIONS[from][to] === true;
}

/** True once a transaction accepts nothing more and holds nothing. */
export function isFinished(status: Status): boolean {
  return status === 'committed' || status === 'aborted' || status === 'in doubt';
}
