/** A mail that waits for its transaction: what is checked at once, its Message-ID, its streams. */
import { domainToASCII } from 'node:url';
import { ConfigurationError, describe, toError } from '../../coordinator/errors.ts';
import type { MailFields } from './driver.ts';

/** An address has something before and behind its @. Everything else is the server's to judge. */
const ADDRESS = /[^\s<>]@[^\s@<>,;]/;
/** What begins a line in one begins a header, or another list: whoever wrote that wants more than one recipient. */
const CONTROL = /\p{Cc}/u;
/** The parts of a list of addresses; a comma in quotes parts nothing. */
const LISTED = /(?:"(?:\\.|[^"\\])*"|[^,])+/g;
const DOMAIN = /@([^\s@<>,;]+)/;

/** A stream that is to be a part of a mail. */
interface Stream {
  on(event: 'error', listener: (error: unknown) => void): unknown;
  destroy(): unknown;
}

/** A mail as it was when it was given. */
export class StagedMail {
  readonly fields: MailFields;
  readonly messageId: string;
  readonly recipients: readonly string[];
  readonly #streams: readonly Stream[];
  /** Why it can't be sent: the error of one of its streams. */
  failure: Error | undefined = undefined;

  /** @throws ConfigurationError when it has no recipient, or no sender, or one that is no address. */
  constructor(mail: MailFields, defaults: MailFields, makeId: (domain: string | undefined) => string) {
    const fields: Record<string, unknown> = Object.fromEntries(
      Object.entries(mail).map(([name, value]) => [name, Array.isArray(value) ? [...value] : value]),
    );
    if (fields['from'] === undefined) delete fields['from'];
    // What nodemailer will send: its transporter's defaults stand where the mail has nothing.
    const all: MailFields = { ...defaults, ...fields };
    if (all.signal !== undefined) {
      throw new ConfigurationError(
        'a mail is sent once its transaction is decided; a signal could not stop it, so it takes none',
      );
    }
    const sender = addressesOf(all.from ?? (all.envelope as MailFields | undefined)?.from, 'sender');
    this.recipients = recipientsOf(all);
    if (all.from !== undefined) fields['from'] = all.from;
    this.messageId = typeof all.messageId === 'string' ? all.messageId : makeId(DOMAIN.exec(sender[0]!)?.[1]);
    fields['messageId'] = this.messageId;
    this.fields = fields;
    this.#streams = streamsOf(fields);
    // Without a listener the error of a stream that nobody reads yet would end the process.
    for (const stream of this.#streams) stream.on('error', (error) => (this.failure ??= toError(error)));
  }

  /** It will not be sent: its streams hold files and sockets open. */
  release(): void {
    for (const stream of this.#streams) stream.destroy();
  }
}

/**
 * The Message-ID of the `sequence`th mail of a transaction: `<id.sequence@domain>`, where what a Message-ID can't hold
 * (RFC 5322, dot-atom) is `_`: the colons of the id.
 */
export function messageIdOf(id: string, sequence: number, domain: string | undefined): string {
  const host = domain === undefined ? '' : domainToASCII(domain);
  return `<${id.replaceAll(/[^A-Za-z0-9-]/g, '_')}.${sequence}@${host === '' ? 'localhost' : host}>`;
}

function recipientsOf(mail: MailFields): readonly string[] {
  const { to, cc, bcc } = (mail.envelope as MailFields | undefined) ?? mail;
  const given = [to, cc, bcc].filter((each) => each !== undefined && each !== null && each !== '');
  return addressesOf(given, 'recipient');
}

/** Each address as a text. @throws ConfigurationError where there is none, or one that is none. */
function addressesOf(value: unknown, what: 'sender' | 'recipient'): readonly string[] {
  const all = flatten(value);
  if (all.length === 0) {
    throw new ConfigurationError(
      `a mail must have a ${what}${what === 'sender' ? ': its from, or that of its session' : ' in to, cc or bcc'}; this one has none and will not be sent`,
    );
  }
  const wrong = all.find((address) => !ADDRESS.test(address) || CONTROL.test(address));
  if (wrong !== undefined) {
    throw new ConfigurationError(
      `the ${what} of a mail must be an address such as alice@example.org, not ${describe(wrong)}; it will not be sent`,
    );
  }
  return all;
}

function flatten(value: unknown): readonly string[] {
  if (value === undefined || value === null || value === '') return [];
  if (typeof value === 'string') return (value.match(LISTED) ?? []).map((each) => each.trim());
  if (Array.isArray(value)) return value.flatMap((each) => (each === '' ? [''] : flatten(each)));
  const { address } = value as { address?: unknown };
  return [typeof address === 'string' ? address : describe(value)];
}

/** The streams among the parts of a mail, as nodemailer takes them. */
function streamsOf(mail: MailFields): readonly Stream[] {
  const parts = ['text', 'html', 'watchHtml', 'amp', 'icalEvent', 'raw', 'attachments', 'alternatives'];
  return parts
    .flatMap((part) => mail[part])
    .flatMap((part) => {
      const { content, raw } = (part ?? {}) as { content?: unknown; raw?: unknown };
      return [part, content, raw].filter(isStream);
    });
}

function isStream(value: unknown): value is Stream {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as Partial<Stream>).on === 'function' &&
    typeof (value as Partial<Stream>).destroy === 'function'
  );
}
