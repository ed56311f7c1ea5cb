/** What can be stored as JSON and comes back the same. */
import { ConfigurationError, describe } from '../../coordinator/errors.ts';
import { printable } from '../../coordinator/printable.ts';

/**
 * A value as JSON. A property that is `undefined` counts as absent.
 * @throws ConfigurationError that names the first part that would not come back as it was.
 */
export function asJson(value: unknown, what: string): string {
  check(value, what, new Set());
  return JSON.stringify(value);
}

/** Deeper than anything that people write, and well within what JSON can be written and read. */
const DEEPEST = 500;

function check(value: unknown, path: string, above: Set<object>): void {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return;
  if (typeof value === 'number' && Number.isFinite(value)) return;
  if (typeof value !== 'object') throw refusal(path, describe(value));
  if (above.has(value)) throw refusal(path, 'a part of itself');
  if (above.size >= DEEPEST) throw refusal(path, `${DEEPEST} deep in others`);
  above.add(value);
  checkInside(value, path, above);
  above.delete(value);
}

function checkInside(value: object, path: string, above: Set<object>): void {
  if (Array.isArray(value)) {
    // Holes among them: by their numbers.
    for (let index = 0; index < value.length; index++) check(value[index], `${path}[${index}]`, above);
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) throw refusal(path, describe(value));
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') throw refusal(path, 'an object with toJSON()');
  for (const [key, each] of Object.entries(value)) {
    if (each !== undefined) check(each, `${path}.${key}`, above);
  }
}

const LONGEST_PATH = 100;

function refusal(path: string, seen: string): ConfigurationError {
  // The names in it are the application's data.
  const place = printable(path.length > LONGEST_PATH ? `${path.slice(0, LONGEST_PATH)}…` : path);
  return new ConfigurationError(
    `what is stored to be done after a commit must be JSON: null, true and false, finite numbers, texts, arrays and plain objects; ${place} is ${seen}, so nothing is stored`,
  );
}
