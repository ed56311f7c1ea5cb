/** The errors of mails. */
import { TransactionError, type TransactionErrorOptions, list } from '../../coordinator/errors.ts';

/** The mail server didn't answer, or didn't let us in, before the vote; nothing was committed. The cause is the transport's error. */
export class MailServerError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_MAIL_SERVER';
  }
}

/** What became of one mail. */
export interface MailResult {
  /** Its Message-ID, with the angle brackets. */
  readonly messageId: string;
  /** Whom it was for, as the application has put it. */
  readonly recipients: readonly string[];
  /**
   * - `sent`: the server has taken it for everybody;
   * - `sent in part`: not for those in `rejected`;
   * - `not sent`: the server has refused it, or was never given it;
   * - `unknown`: the connection was lost, or the time was up, when the server may have taken it already.
   */
  readonly outcome: 'sent' | 'sent in part' | 'not sent' | 'unknown';
  /** The recipients that the server has refused, as nodemailer lists them. */
  readonly rejected: readonly string[];
  /** Why it wasn't sent, or may not have been: the transport's error. */
  readonly error?: Error;
}

/**
 * Not every mail of a committed transaction was sent. What was sent stays so, and the transaction is committed: never repeat it,
 * but send what is missing by hand. It is the cause of the `InDoubtError` that the commit rejects with.
 */
export class MailNotSentError extends TransactionError {
  override get code(): string {
    return 'ERR_TXN_MAIL_NOT_SENT';
  }
  /** What became of each mail of the transaction, in the order in which they were to be sent. */
  readonly mails: readonly MailResult[];

  constructor(message: string, mails: readonly MailResult[], options: TransactionErrorOptions = {}) {
    super(message, options);
    this.mails = mails;
  }
}

const IN_WORDS: Readonly<Record<MailResult['outcome'], string>> = {
  sent: 'sent',
  'sent in part': 'not sent to everybody',
  'not sent': 'not sent',
  unknown: 'perhaps sent',
};

/** What became of the mails, for a message; those that were sent are named last. */
export function inWords(mails: readonly MailResult[]): string {
  const failed = mails.filter(({ outcome }) => outcome !== 'sent');
  const sent = mails.filter(({ outcome }) => outcome === 'sent');
  const each = failed.map(({ messageId, recipients, outcome, rejected, error }) => {
    const whom = outcome === 'sent in part' ? rejected : recipients;
    return `${messageId} to ${list(whom)} was ${IN_WORDS[outcome]}${error === undefined ? '' : ` (${error.message})`}`;
  });
  return `${list(each)}; sent: ${list(sent.map(({ messageId }) => messageId))}`;
}
