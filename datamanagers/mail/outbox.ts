/** Mails as messages that are stored with the decision of their transaction. */
import { outside } from '../../coordinator/context.ts';
import { TransactionError } from '../../coordinator/errors.ts';
import type { StoredMessage } from '../../coordinator/types.ts';
import { Patience } from '../support/patience.ts';
import { type MailFields, type MailTransport, rejectedOf } from './driver.ts';
import type { StagedMail } from './mail.ts';

/** How JSON holds a Buffer here. */
interface PackedBytes {
  readonly base64: string;
}

/** Whether a mail is whole: nothing of it is read from somewhere when it is sent, and nothing is code. */
export function isStorable(mail: StagedMail): boolean {
  return isPlain(mail.fields);
}

function isPlain(value: unknown): boolean {
  if (value === null || ['string', 'number', 'boolean', 'undefined'].includes(typeof value)) return true;
  if (Buffer.isBuffer(value) || value instanceof Date) return true;
  if (Array.isArray(value)) return value.every(isPlain);
  if (typeof value !== 'object') return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  const isRecord = prototype === Object.prototype || prototype === null;
  // A path or an address would be read by whichever process sends it, and whenever that is.
  return isRecord && !('path' in value) && !('href' in value) && Object.values(value).every(isPlain);
}

/** A mail as text. */
export function payloadOf(mail: StagedMail): string {
  return JSON.stringify(packed(mail.fields));
}

function packed(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return { base64: value.toString('base64') } satisfies PackedBytes;
  if (Array.isArray(value)) return value.map(packed);
  if (value instanceof Date || typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, packed(each)]));
}

function unpacked(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unpacked);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value);
  if (entries.length === 1 && entries[0]![0] === 'base64') return Buffer.from(String(entries[0]![1]), 'base64');
  return Object.fromEntries(entries.map(([key, each]) => [key, unpacked(each)]));
}

/**
 * Sends a stored mail. Where the server refuses some of its recipients, it is sent: again would be twice for the others. That is said by a
 * warning of the process. Its Message-ID is the same each time, by which a reader's mailbox may know it again.
 */
export async function deliver(
  { name, transport, sendTimeoutMs }: { name: string; transport: MailTransport; sendTimeoutMs: number },
  message: StoredMessage,
): Promise<void> {
  const fields = unpacked(JSON.parse(message.payload)) as MailFields;
  // Whoever could write to the table could otherwise have files and addresses read that only this process can: a stored mail names none.
  const closed = { ...fields, disableFileAccess: true, disableUrlAccess: true };
  // Outside of the context: a transport with a pool keeps its connections.
  const sent = outside(async () => transport.sendMail(closed));
  const info: unknown = await new Patience().wait(
    sent,
    sendTimeoutMs,
    () => new TransactionError(`no answer within ${sendTimeoutMs} ms (sendTimeoutMs)`, { resource: name }),
  );
  const rejected = rejectedOf(info);
  if (rejected.length === 0) return;
  process.emitWarning(
    new TransactionError(
      `a mail must be sent to all of its recipients; the server of '${name}' refused ${rejected.join(', ')} of ${String(fields.messageId)}`,
      { resource: name, xid: message.gid },
    ),
  );
}
