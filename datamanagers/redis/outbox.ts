/**
 * The writes of a transaction as a message that is stored with its decision, and their being applied once, however often that message is
 * delivered: a token is written with them, and where it is there already nothing is.
 *
 * Whoever has stored a message delivers it first, in one flight: the token is watched, touched, and written by the EXEC behind that, which does
 * nothing where there was one to touch. Should WATCH be refused and EXEC not, such as in the moment when a slot arrives at a node, nothing
 * guards; but then nobody else can have delivered it, unless the claim of whoever stored it has run out before the reply came. Every other
 * delivery waits for what WATCH and EXISTS answer before it sends anything.
 */
import { CLAIM_MS } from '../../coordinator/deliveries.ts';
import { TransactionError, toError } from '../../coordinator/errors.ts';
import { reportWarning } from '../../coordinator/report.ts';
import type { StoredMessage } from '../../coordinator/types.ts';
import { type Replies, commit, slotByServer } from './commit.ts';
import type { RedisCore } from './core.ts';
import { WatchConflictError } from './errors.ts';
import type { WireCommand } from './maker.ts';
import { type Write, settle } from './outcome.ts';
import { type Moment, since } from './resolve.ts';
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
  const key = firstKeyOf(writes);
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

/** The writes of a transaction of this process that are stored and not delivered: whoever asks for their answers may have them. */
export interface StoredWrites {
  readonly writes: readonly Write[];
  /** A moment before they were stored, from when on they are this process's to deliver. */
  readonly since: Moment;
}

/** By the id of the transaction, until they are delivered for the first time. */
export type Expected = Map<string, StoredWrites>;

/**
 * Applies a message, unless it was applied before.
 * @throws what keeps it from that: nothing was applied then, or it isn't known, which the next delivery finds out.
 * @throws PartlyAppliedError once, where some commands have failed: those are not tried again.
 */
export async function deliver(core: RedisCore, message: StoredMessage, expected: Expected): Promise<void> {
  const own = expected.get(message.gid);
  const writes = own?.writes ?? [];
  try {
    const replies =
      own !== undefined && since(own.since) < CLAIM_MS / 2
        ? await applyFirst(core, message, own)
        : await applyAgain(core, message);
    if (replies === undefined) {
      const unheard = new TransactionError(
        `what a command answers is known to whoever applies it; the writes of transaction ${message.gid} were applied to '${core.name}' by another process, so they are committed, and what they have answered is not known`,
        { resource: core.name, xid: message.gid },
      );
      for (const { command } of writes) command.reject(unheard);
      return;
    }
    const lost = settle(core.name, message.gid, writes, replies);
    // It was applied all the same, and whoever asks for the answers hears why there are none.
    if (lost !== undefined) reportWarning(lost.message, 'RedisSessionWarning');
    else if (writes.length === 0) refuseFailures(replies);
  } catch (thrown) {
    for (const { command } of writes) command.reject(toError(thrown));
    throw thrown;
  } finally {
    expected.delete(message.gid);
  }
}

/** Whoever waits for the answers of these writes gets `reason` in place of them. */
export function postpone(gid: string, reason: Error, expected: Expected): void {
  for (const { command } of expected.get(gid)?.writes ?? []) command.reject(reason);
  expected.delete(gid);
}

/** What this process has just stored; undefined where it was applied before. */
async function applyFirst(
  core: RedisCore,
  message: StoredMessage,
  { writes, since: stored }: StoredWrites,
): Promise<Replies | undefined> {
  const key = firstKeyOf(writes);
  const commands = writes.map(({ wire }) => wire);
  const slot = core.isCluster ? await slotOfMessage(core, commands, key) : undefined;
  const work = { id: idOf(message), commands, slot, watching: undefined, once: true };
  const replies = await commit({ ...core, tokenTtlMs: REMEMBERED_MS }, work).catch(ignoreConflict);
  if (replies?.guardError !== undefined && since(stored) > CLAIM_MS) {
    reportWarning(
      `the writes of transaction ${message.gid} may have been applied to '${core.name}' twice: the server refused to say whether they had been before (${replies.guardError.message}), and answered after others might deliver them; look at what they have written`,
      'RedisSessionWarning',
    );
  }
  return replies;
}

/** Somebody else has applied it. */
function ignoreConflict(error: unknown): undefined {
  if (!(error instanceof WatchConflictError)) throw error;
}

function idOf({ gid, sequence }: StoredMessage): string {
  return `${gid}:${sequence}`;
}

function firstKeyOf(writes: readonly Write[]): string | Buffer | undefined {
  return writes.find(({ keys }) => keys.length > 0)?.keys[0];
}

/** What may have been applied before, by whomever; undefined where it was. */
async function applyAgain(core: RedisCore, message: StoredMessage): Promise<Replies | undefined> {
  const { commands: all, key } = JSON.parse(message.payload) as Payload;
  const commands = all.map(([name, ...args]): WireCommand => ({ name: name as string, args: args.map(unpacked) }));
  const known = key === undefined ? undefined : unpacked(key);
  const slot = core.isCluster ? await slotOfMessage(core, commands, known) : undefined;
  const id = idOf(message);
  const token = tokenKey(core.keyPrefix, `${id}:${core.name}`, slot);
  const node = await core.servers.nodeOf(slot);
  const connection = await node.watchers.take(undefined);
  let isClean = false;
  try {
    const [multi, exec, watched, found] = await connection.exchange(
      [
        // Where the right to it was taken away, all would be applied one by one.
        core.maker.plain('multi'),
        core.maker.plain('exec'),
        core.maker.plain('watch', token),
        core.maker.plain('exists', token),
      ],
      core.endTimeoutMs,
    );
    const failed = multi!.error ?? exec!.error ?? watched!.error ?? found!.error;
    if (failed !== undefined) {
      // So that the next delivery goes where the slot is by then.
      core.servers.redirection(failed);
      throw failed;
    }
    if (Number((found as { value: unknown }).value) === 1) return undefined;
    const watching = { node, connection, keys: [token] };
    const work = { id, commands, slot, watching };
    const replies = await commit({ ...core, tokenTtlMs: REMEMBERED_MS }, work).catch(ignoreConflict);
    // EXEC has forgotten what was watched, but where MULTI was refused in between.
    isClean = replies?.unguarded === undefined;
    return replies;
  } finally {
    node.watchers.giveBack(connection, !isClean);
  }
}

/** Where the token is must not depend on what is known of the commands: `commit` would look for their slot itself. */
async function slotOfMessage(
  core: RedisCore,
  commands: readonly WireCommand[],
  key: string | Buffer | undefined,
): Promise<number> {
  return key === undefined ? slotByServer(core, commands) : slotOf(key);
}

/** Of another process's message: what its commands have answered is nobody's, but that some have failed. */
function refuseFailures({ values }: Replies): void {
  const failed = values?.find((value) => value instanceof Error);
  if (failed !== undefined) throw failed;
}
