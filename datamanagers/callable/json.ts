/** What can be stored as JSON and comes back the same. */
import { ConfigurationError, describe } from '../../coordinator/errors.ts';

/**
 * A value as JSON. A property that is `undefined` counts as absent.
 * @throws ConfigurationError that names the first part that would not come back as it was.
 */
export function asJson(value: unknown, what: string): string {
  check(value, what, []);
  return JSON.stringify(value);
}

function check(value: unknown, path: string, above: readonly object[]): void {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return;
  if (typeof value === 'number' && Number.isFinite(value)) return;
  if (typeof value !== 'object') throw refusal(path, describe(value));
  if (above.includes(value)) throw refusal(path, 'a part of itself');
  const inside = [...above, value];
  if (Array.isArray(value)) {
    // Holes among them: by their numbers.
    for (let index = 0; index < value.length; index++) check(value[index], `${path}[${index}]`, inside);
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) throw refusal(path, describe(value));
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') throw refusal(path, 'an object with toJSON()');
  for (const [key, each] of Object.entries(value)) {
    if (each !== undefined) check(each, `${path}.${key}`, inside);
  }
}

function refusal(path: string, seen: string): ConfigurationError {
  return new ConfigurationError(
    `what is stored to be done after a commit must be JSON: null, true and false, finite numbers, texts, arrays and plain objects; ${path} is ${seen}, so nothing is stored`,
  );
}
