/** Texts that describe a transaction: its user, its notes. */
import { describe } from './errors.ts';
import { reportWarning } from './report.ts';

/** A text; what isn't one is coerced with a warning (zope 108). */
export function text(what: string, value: unknown): string {
  if (typeof value === 'string') return value;
  if (value === null || value === undefined) {
    throw new RangeError(`the ${what} of a transaction must be a string, not ${String(value)}`);
  }
  reportWarning(
    `the ${what} of a transaction must be a string; ${describe(value)} is taken as text`,
    'DeprecationWarning',
  );
  // As upstream: whatever it is becomes a text, with the warning above.
  // oxlint-disable-next-line typescript/no-base-to-string
  return String(value);
}
