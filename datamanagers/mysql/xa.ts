/** What the server's errors of XA mean (MySQL: errmsg; X/Open XA: XA_RB*, XAER_*). */
import { errorNumber } from './driver.ts';

/** XAER_NOTA. It proves nothing: MariaDB gives it to others while the connection that prepared the branch is open. */
export const XA_NOTA = 1397;
/** XA_RBROLLBACK, XA_RBTIMEOUT, XA_RBDEADLOCK. */
const ROLLED_BACK: ReadonlySet<number> = new Set([1402, 1613, 1614]);

/** Whether an error says that the branch was rolled back. */
export function isRolledBack(error: unknown): boolean {
  const number = errorNumber(error);
  return number !== undefined && ROLLED_BACK.has(number);
}
