/** Mails in transactions: a session over a transporter of nodemailer. */
import { ConfigurationError, describe } from '../../coordinator/errors.ts';
import { type Rule, type Rules, aBoolean, aDelay, aString, checkOptions } from '../../coordinator/options.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type { OutboxTarget, SessionState, StoredMessage } from '../../coordinator/types.ts';
import { PlainSession } from '../support/session.ts';
import { MailBranch, type MailSettings } from './branch.ts';
import type { MailOf, MailTransport } from './driver.ts';
import { deliver } from './outbox.ts';

/** Options of a mail session. */
export interface MailSessionOptions {
  /** What it is called in errors: 1 to 63 of `A-Z a-z 0-9 _ . -`; default `mail`. */
  name?: string | undefined;
  /** The sender of mails that name none, as nodemailer takes it: a text, or `{ name, address }`. */
  from?: string | { readonly name?: string | undefined; readonly address: string } | undefined;
  /** The domain of Message-IDs; default that of the sender. */
  domain?: string | undefined;
  /** Whether the server is asked, before anything is committed, that it is there and lets us in; default true. */
  verify?: boolean | undefined;
  /** How long that may take, in milliseconds; default 10,000. */
  verifyTimeoutMs?: number | undefined;
  /** How long the server may take for one mail, in milliseconds; default 60,000. After that no other is tried. */
  sendTimeoutMs?: number | undefined;
  /**
   * Where the coordinator has a decision log and a database was changed: whether mails are stored with the decision, so that they are sent
   * also when this process dies or the server is down, at least once; default true. A mail that is read from a stream, a `path` or an `href`
   * when it is sent is never stored.
   */
  outbox?: boolean | undefined;
}

const aSender: Rule = {
  requires: 'a text or an object with an address',
  accepts: (value) => typeof value === 'string' || typeof (value as { address?: unknown } | null)?.address === 'string',
};

const optionRules: Rules<MailSessionOptions> = {
  name: aString,
  from: aSender,
  domain: aString,
  verify: aBoolean,
  verifyTimeoutMs: aDelay,
  sendTimeoutMs: aDelay,
  outbox: aBoolean,
};

const DEFAULT_VERIFY_TIMEOUT_MS = 10_000;
const DEFAULT_SEND_TIMEOUT_MS = 60_000;

/**
 * Mails that are sent when their transaction has committed, and never when it was aborted or doomed (zope 173).
 *
 * A mail can't be taken back, and sending it can fail. So it is sent behind everything else, in `tpcFinish`, and what can be
 * checked is checked before anything is committed: the recipients at once, the server before the vote. What fails all the same is told
 * by `InDoubtError`, whose cause is a `MailNotSentError`. A process that dies between the commit and the last mail loses the rest, unless
 * they were stored with the decision ({@link MailSessionOptions.outbox}).
 *
 * nodemailer 6 or later.
 */
export class MailSession<T extends MailTransport = MailTransport>
  extends PlainSession<MailBranch>
  implements OutboxTarget
{
  /** @internal A mail that can't be sent keeps no others. */
  readonly anyOrder = true as const;
  readonly #settings: MailSettings;

  /**
   * @param transport a transporter of nodemailer; it stays the application's, which closes it.
   * @throws ConfigurationError when `transport` is none, or for unknown or impossible options.
   */
  constructor(transport: T, options: MailSessionOptions = {}) {
    checkOptions('new MailSession()', options, optionRules);
    if (typeof (transport as Partial<MailTransport> | null | undefined)?.sendMail !== 'function') {
      throw new ConfigurationError(
        `new MailSession() takes a transporter of nodemailer, such as createTransport() makes, not ${describe(transport)}`,
      );
    }
    const name = options.name ?? 'mail';
    super(name);
    this.#settings = {
      name,
      transport,
      from: options.from,
      domain: options.domain,
      verify: options.verify ?? true,
      verifyTimeoutMs: options.verifyTimeoutMs ?? DEFAULT_VERIFY_TIMEOUT_MS,
      sendTimeoutMs: options.sendTimeoutMs ?? DEFAULT_SEND_TIMEOUT_MS,
      outbox: options.outbox ?? true,
    };
  }

  /**
   * Sends a mail when the current transaction has committed, behind those given before. Takes what `sendMail` of the transporter takes,
   * but no `signal`.
   *
   * The mail is kept as it is now, but for what it refers to: an attachment by `path`, `href` or stream is read when it is sent, when
   * everything else has committed. What must not fail then is better given as a Buffer.
   *
   * @returns the Message-ID that it will have: `<id.sequence@domain>` of the transaction's id, unless it names its own.
   * @throws ConfigurationError at once when it has no recipient or no sender, or one that is no address.
   * @throws NoTransaction without a transaction, TransactionClosed once its end has begun, TransactionStateError when the session was
   * declared read-only.
   */
  send(mail: MailOf<T>): string {
    const branch = this.branch();
    if (typeof mail !== 'object' || mail === null) {
      throw new ConfigurationError(`send() takes a mail as nodemailer does, an object, not ${describe(mail)}`, {
        resource: this.name,
      });
    }
    return branch.add(mail);
  }

  /** Sends a mail that was stored with a decision. */
  deliver(message: StoredMessage): Promise<void> {
    return deliver(this.#settings, message);
  }

  /** @internal */
  protected open(txn: Transaction, state: SessionState): MailBranch {
    return new MailBranch(this.#settings, txn, state);
  }
}
