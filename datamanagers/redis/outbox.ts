/**
 * The writes of a transaction as a message that is stored with its decision, and their being applied once, however often that message is
 * delivered: the token is watched and looked for before, and written with them.
 */
import { toError } from '../../coordinator/errors.ts';
import type { StoredMessage } from '../../coordinator/types.ts';
import { type Replies, commit, slotByServer } from './commit.ts';
import type { RedisCore } from './core.ts';
import { WatchConflictError } from './errors.ts';
import type { WireCommand } from './maker.ts';
import { type Write, settle } from './outcome.ts';
import { slotOf } from './slot.ts';
import { tokenKey } from './token.ts';

/** For how long it is remembered that a message was applied, in milliseconds: until an operator has long looked at it. */
const REMEMBERED_MS = 7 * 24 * 60 * 60 * 1_000;

/** A command as JSON can hold it: bytes that are no text in base64. */
type Packed = readonly (string | { readonly base64: string })[];

interface Payload {
  readonly commands: readonly Packed[];
  /** A key, for the slot of a cluster. */
  readonly key?: string | { readonly base64: string };
}

/** The writes of a transaction as text. */
export function payloadOf(writes: readonly Write[]): string {
  const key = writes.find(({ keys }) => keys.length > 0)?.keys[0];
  const payload: Payload = {
    commands: writes.map(({ wire: { name, args } }) => [name, ...args.map(packed)]),
    ...(key === undefined ? {} : { key: packed(key) }),
  };
  return JSON.stringify(payload);
}

function packed(value: string | Buffer): string | { base64: string } {
  return typeof value === 'string' ? value : { base64: value.toString('base64') };
}

function unpacked(value: string | { readonly base64: string }): string | Buffer {
  return typeof value === 'string' ? value : Buffer.from(value.base64, 'base64');
}

/** The writes of transactions of this process that are stored and not delivered: whoever asks for their answers may have them. */
export type Expected = Map<string, readonly Write[]>;

/**
 * Applies a message, unless it was applied before.
 * @throws what keeps it from that: nothing was applied then, or it isn't known, which the next delivery finds out.
 * @throws PartlyAppliedError once, where some commands have failed: those are not tried again.
 */
export async function deliver(core: RedisCore, message: StoredMessage, expected: Expected): Promise<void> {
  const writes = expected.get(message.gid) ?? [];
  try {
    const replies = await applyOnce(core, message);
    if (replies === undefined) return;
    const lost = settle(core.name, message.gid, writes, replies);
    if (lost !== undefined) throw lost;
    if (writes.length === 0) refuseFailures(replies);
  } catch (thrown) {
    for (const { command } of writes) command.reject(toError(thrown));
    throw thrown;
  } finally {
    expected.delete(message.gid);
  }
}

/** Whoever waits for the answers of these writes gets `reason` in place of them. */
export function postpone(gid: string, reason: Error, expected: Expected): void {
  for (const { command } of expected.get(gid) ?? []) command.reject(reason);
  expected.delete(gid);
}

/** Undefined where it was applied before. */
async function applyOnce(core: RedisCore, message: StoredMessage): Promise<Replies | undefined> {
  const { commands: all, key } = JSON.parse(message.payload) as Payload;
  const commands = all.map(([name, ...args]): WireCommand => ({ name: name as string, args: args.map(unpacked) }));
  const slot = core.isCluster ? await slotOfMessage(core, commands, key) : undefined;
  const id = `${message.gid}:${message.sequence}`;
  const token = tokenKey(core.keyPrefix, `${id}:${core.name}`, slot);
  const node = await core.servers.nodeOf(slot);
  const connection = await node.watchers.take(undefined);
  let isClean = false;
  try {
    const [watched, found] = await connection.exchange(
      [core.maker.plain('watch', token), core.maker.plain('exists', token)],
      core.endTimeoutMs,
    );
    const failed = watched!.error ?? found!.error;
    if (failed !== undefined) throw failed;
    if (Number((found as { value: unknown }).value) === 1) return undefined;
    const watching = { node, connection, keys: [token] };
    const replies = await commit({ ...core, tokenTtlMs: REMEMBERED_MS }, { id, commands, slot, watching });
    isClean = true;
    return replies;
  } catch (error) {
    // Somebody else has applied it meanwhile.
    if (error instanceof WatchConflictError) {
      isClean = true;
      return undefined;
    }
    throw error;
  } finally {
    node.watchers.giveBack(connection, !isClean);
  }
}

/** Where the token is must not depend on what is known of the commands: `commit` would look for their slot itself. */
async function slotOfMessage(core: RedisCore, commands: readonly WireCommand[], key: Payload['key']): Promise<number> {
  return key === undefined ? slotByServer(core, commands) : slotOf(unpacked(key));
}

/** Of another process's message: what its commands have answered is nobody's, but that some have failed. */
function refuseFailures({ values }: Replies): void {
  const failed = values?.find((value) => value instanceof Error);
  if (failed !== undefined) throw failed;
}
