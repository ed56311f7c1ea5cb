/**
 * The token of a transaction: a key that is written by the same EXEC, so that after a lost reply it can be seen whether that was run. It
 * goes by itself after some time.
 */
import { ConfigurationError } from '../../coordinator/errors.ts';
import type { WireCommand } from './maker.ts';
import { slotOf, tagOf } from './slot.ts';

/** The name of a transaction's token: `<keyPrefix>unanimous:token:<id>:<session>`, in a cluster with a hash tag for the slot behind it. */
export function tokenKey(prefix: string | Buffer, id: string, slot: number | undefined): string | Buffer {
  const name = `unanimous:token:${id}${slot === undefined ? '' : `:{${tagOf(slot)}}`}`;
  const key = typeof prefix === 'string' ? prefix + name : Buffer.concat([prefix, Buffer.from(name)]);
  if (slot !== undefined && slotOf(key) !== slot) {
    throw new ConfigurationError(
      `a keyPrefix of a cluster's client must contain a whole hash tag, {…}, or no braces; with '${prefix.toString()}' there is no token in the slot of the keys: change it, or set tokenTtlMs to false`,
    );
  }
  return key;
}

/** What writes a token that lasts `ttlMs` milliseconds. */
export function writeToken(key: string | Buffer, ttlMs: number): WireCommand {
  return { name: 'set', args: [key, '1', 'PX', String(ttlMs)] };
}

/**
 * What, sent before MULTI, makes EXEC do nothing where the token is there already: it is watched, and then changed, which it can only be
 * where it exists. For WATCH, a change by the connection itself counts as one by others.
 */
export function guardOf(key: string | Buffer, ttlMs: number): readonly WireCommand[] {
  return [
    { name: 'watch', args: [key] },
    { name: 'pexpire', args: [key, String(ttlMs)] },
  ];
}
