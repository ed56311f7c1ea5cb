/** The mails of one transaction (zope 173-180). */
import { outside } from '../../coordinator/context.ts';
import { TransactionError, toError } from '../../coordinator/errors.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type {
  Awaitable,
  DataManager,
  DataManagerSavepoint,
  OutboxMessage,
  SandboxConduct,
  SessionState,
  Vote,
} from '../../coordinator/types.ts';
import { PlainBranch } from '../support/branch.ts';
import { Patience } from '../support/patience.ts';
import { nextNumber } from '../support/sequence.ts';
import { type MailFields, type MailTransport, defaultsOf, isLostConnection, mayBeTaken, rejectedOf } from './driver.ts';
import { MailNotSentError, type MailResult, MailServerError, inWords } from './errors.ts';
import { StagedMail, messageIdOf } from './mail.ts';
import { isStorable, payloadOf } from './outbox.ts';

/** What a session is set up with. */
export interface MailSettings {
  readonly name: string;
  readonly transport: MailTransport;
  readonly from: unknown;
  readonly domain: string | undefined;
  readonly verify: boolean;
  readonly verifyTimeoutMs: number;
  readonly sendTimeoutMs: number;
  readonly outbox: boolean;
}

/** Mails of all sessions of a transaction are counted together, so that no two have one Message-ID. */
const SEQUENCE = Symbol.for('unanimous.mail.sequence');

/**
 * One data manager for all mails that one session sends in a transaction (departure from zope 174, which has one for each: the order
 * is the same, and the server is asked once).
 *
 * The server is asked in `commit`, before anybody votes: so a no costs no database its `PREPARE`. The mails are sent in `tpcFinish`,
 * behind the databases: nobody reads of what can't be seen yet, and no lock waits for a mail server.
 */
export class MailBranch extends PlainBranch implements DataManager {
  readonly sortKey: string;
  readonly #settings: MailSettings;
  #mails: StagedMail[] = [];
  /** Whether the server is asked before anybody votes. */
  #verifies: boolean;
  readonly #patience = new Patience();
  /** Why the server could not be asked, where it may be had the next time. */
  #retriable: Error | undefined = undefined;

  constructor(settings: MailSettings, txn: Transaction, state: SessionState) {
    super(settings.name, txn, state);
    this.#settings = settings;
    this.#verifies = settings.verify;
    this.sortKey = `~~mail:${settings.name}`;
  }

  protected get hasWork(): boolean {
    return this.#mails.length > 0;
  }

  /** Keeps a mail until the transaction commits; returns its Message-ID. */
  add(mail: MailFields): string {
    this.requireWritable('sent a mail with');
    const { transport, from, domain } = this.#settings;
    const txn = this.txn;
    const defaults = { ...defaultsOf(transport), ...(from === undefined ? {} : { from }) };
    const staged = new StagedMail(mail, defaults, (ofSender) =>
      messageIdOf(txn.id, nextNumber(txn, SEQUENCE), domain ?? ofSender),
    );
    this.#mails.push(staged);
    return staged.messageId;
  }

  tpcBegin(): void {
    this.closed = true;
  }

  /** Asks the server whether it is there and lets us in. @throws MailServerError where it isn't, or doesn't. */
  commit(): Awaitable<void> {
    // What is stored with the decision can wait for the server.
    if (this.#mayStore) return undefined;
    if (this.#mails.length === 0 || !this.#verifies || this.#settings.transport.verify === undefined) return undefined;
    return this.#verify();
  }

  async #verify(): Promise<void> {
    const { name, transport, verifyTimeoutMs } = this.#settings;
    const failed = (what: string, cause?: Error): MailServerError =>
      new MailServerError(
        `a mail server must let us in before a transaction with mails commits; that of '${name}' ${what}, so nothing was committed`,
        { resource: name, xid: this.txn.id, phase: 'commit', ...(cause === undefined ? {} : { cause }) },
      );
    let late = false;
    try {
      // Outside of the context: a transport with a pool keeps its connections.
      const asked = outside(async () => transport.verify!());
      await this.#patience.wait(asked, verifyTimeoutMs, () => {
        late = true;
        return failed(`said nothing within ${verifyTimeoutMs} ms (verifyTimeoutMs)`);
      });
    } catch (thrown) {
      if (late || thrown === this.txn.doomReason) throw thrown;
      const cause = toError(thrown);
      if (isLostConnection(cause)) this.#retriable = cause;
      throw failed(`did not (${cause.message})`, cause);
    }
  }

  get #mayStore(): boolean {
    const { outbox } = this.#settings;
    return outbox && this.txn.manager.decisions?.canDecide(this.txn) === true && this.#mails.every(isStorable);
  }

  /** Where a decision is written down, the mails are stored with it, unless one is read from somewhere when it is sent. */
  outbox(): readonly OutboxMessage[] | undefined {
    if (this.#mails.length === 0 || !this.#mayStore) return undefined;
    return this.#mails.map((mail) => ({ target: this.name, payload: payloadOf(mail) }));
  }

  /** A mail whose stream has failed by now would fail when it is sent. */
  tpcVote(): Vote {
    const broken = this.#mails.find(({ failure }) => failure !== undefined);
    if (broken !== undefined) {
      throw new TransactionError(
        `a mail must be complete for its transaction to commit; a stream of ${broken.messageId} failed (${broken.failure!.message}), so nothing was committed`,
        { cause: broken.failure, resource: this.name, xid: this.txn.id, phase: 'tpcVote' },
      );
    }
    return this.#mails.length === 0 ? 'read-only' : 'commit';
  }

  /** Sends them in order, whatever becomes of one. @throws MailNotSentError where one was not, or not to everybody. */
  async tpcFinish(txn: Transaction): Promise<void> {
    const mails = this.#take();
    if (txn.isStored(this)) return;
    const results: MailResult[] = [];
    let silent: Error | undefined;
    for (const mail of mails) {
      if (silent === undefined) {
        const { result, timedOut } = await this.#send(mail);
        results.push(result);
        if (timedOut) silent = result.error;
      } else {
        // A server that says nothing would be waited for once for each.
        results.push(resultOf(mail, 'not sent', new TransactionError('not tried, as the one before had no answer')));
      }
      if (results.at(-1)!.outcome !== 'sent') mail.release();
    }
    const failed = results.find(({ outcome }) => outcome !== 'sent');
    if (failed !== undefined) {
      throw this.#notSent('every mail must be sent once all have voted yes', results, failed.error);
    }
  }

  async #send(mail: StagedMail): Promise<{ result: MailResult; timedOut: boolean }> {
    const { transport, sendTimeoutMs } = this.#settings;
    // Ends the attempt where nodemailer can (10.0 or later); without it, only the wait.
    const stop = new AbortController();
    let timedOut = false;
    try {
      const sent = outside(async () => transport.sendMail({ ...mail.fields, signal: stop.signal }));
      const info: unknown = await new Patience().wait(sent, sendTimeoutMs, () => {
        timedOut = true;
        return new TransactionError(`no answer within ${sendTimeoutMs} ms (sendTimeoutMs)`, { resource: this.name });
      });
      const rejected = rejectedOf(info);
      return { result: resultOf(mail, rejected.length === 0 ? 'sent' : 'sent in part', undefined, rejected), timedOut };
    } catch (thrown) {
      const error = toError(thrown);
      if (timedOut) stop.abort(error);
      return { result: resultOf(mail, mayBeTaken(error) ? 'unknown' : 'not sent', error, rejectedOf(error)), timedOut };
    }
  }

  #notSent(requirement: string, results: readonly MailResult[], cause: Error | undefined): MailNotSentError {
    return new MailNotSentError(`${requirement}; ${inWords(results)}; send by hand what is missing`, results, {
      resource: this.name,
      xid: this.txn.id,
      phase: 'tpcFinish',
      ...(cause === undefined ? {} : { cause }),
    });
  }

  /** The mails, which are nobody's any more from now on. */
  #take(): StagedMail[] {
    const mails = this.#mails;
    this.#mails = [];
    return mails;
  }

  tpcAbort(): void {
    this.abort();
  }

  /** Drops the mails: no mail is sent of what didn't happen (zope 173). */
  abort(): void {
    this.closed = true;
    for (const mail of this.#take()) mail.release();
  }

  /** Whether the transaction committed isn't known: what isn't stored is not sent, and the error says so. @throws MailNotSentError. */
  hold(txn: Transaction): void {
    const mails = this.#take();
    for (const mail of mails) mail.release();
    if (mails.length === 0 || txn.isStored(this)) return;
    const results = mails.map((mail) => resultOf(mail, 'not sent'));
    throw this.#notSent('mails are sent once it is known that their transaction has committed', results, undefined);
  }

  /** What is added later is dropped by its rollback (zope 174). */
  savepoint(): DataManagerSavepoint {
    this.requireOpen();
    const count = this.#mails.length;
    return {
      rollback: () => {
        for (const mail of this.#mails.splice(count)) mail.release();
      },
    };
  }

  /** The server isn't asked: nothing is sent anyway. */
  sandboxed(): SandboxConduct {
    this.#verifies = false;
    return { planned: () => this.#mails.map(({ fields }) => fields) };
  }

  /** A connection that was refused or lost before anything was committed may be had the next time. */
  shouldRetry(error: Error): boolean {
    return error === this.#retriable;
  }

  /** A deadline has passed: the server isn't waited for any longer. */
  cancel(reason: Error): void {
    this.#patience.cancel(reason);
  }
}

function resultOf(
  mail: StagedMail,
  outcome: MailResult['outcome'],
  error?: Error,
  rejected: readonly string[] = [],
): MailResult {
  const { messageId, recipients } = mail;
  return { messageId, recipients, outcome, rejected, ...(error === undefined ? {} : { error }) };
}
