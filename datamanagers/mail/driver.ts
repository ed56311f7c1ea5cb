/**
 * The part of `nodemailer` that is used, by structure: this package depends neither on it nor on its types, and takes whatever
 * transporter the application has made.
 */

/** A transporter of nodemailer: what `nodemailer.createTransport(…)` returns. */
export interface MailTransport {
  // `any`: the transporter's own types of a mail and of what became of it, which `MailSession#send` takes over.
  sendMail(mail: any): Promise<any>;
  /** Connects and logs in; nodemailer answers `false` where a transport has nothing to check. */
  verify?(): Promise<unknown>;
}

/** What a mail is, for the transporter `T`. */
export type MailOf<T extends MailTransport> = Parameters<T['sendMail']>[0];

// What follows is there at run time, and not in the types that a user's transporter is checked against.

/** The fields of a mail that are looked at. */
export interface MailFields {
  readonly from?: unknown;
  readonly to?: unknown;
  readonly cc?: unknown;
  readonly bcc?: unknown;
  readonly envelope?: unknown;
  readonly messageId?: unknown;
  readonly signal?: unknown;
  readonly [field: string]: unknown;
}

/** The defaults that the transporter was made with, which nodemailer adds to each mail. */
export function defaultsOf(transport: MailTransport): MailFields {
  return (transport as { _defaults?: MailFields })._defaults ?? {};
}

/** An error of nodemailer. */
interface MailerError extends Error {
  readonly code?: string;
  /** The SMTP reply that refused it. */
  readonly responseCode?: number;
  readonly syscall?: string;
  readonly timeoutType?: string;
}

/** Codes of errors that come before the server has been given a mail, or because it refused or never got the whole of it. */
const NOT_TAKEN = new Set([
  'EENVELOPE',
  'EMESSAGE',
  'EAUTH',
  'ENOAUTH',
  'EOAUTH2',
  'EDNS',
  'ETLS',
  'EREQUIRETLS',
  'EPROXY',
  'ECONFIG',
  'EMAXRECIPIENTS',
  'EFILEACCESS',
  'EURLACCESS',
  'EFETCH',
  'ESTREAM',
]);

/** Whether a server may have taken the mail although this error came of it. What isn't known for certain may have been. */
export function mayBeTaken(error: unknown): boolean {
  const { code, responseCode, syscall, timeoutType } = error as MailerError;
  if (typeof responseCode === 'number' || syscall === 'connect' || syscall === 'getaddrinfo') return false;
  if (timeoutType === 'CONNECT_TIMEOUT' || timeoutType === 'GREETING_TIMEOUT') return false;
  return code === undefined || !NOT_TAKEN.has(code);
}

/** Whether the connection was refused or lost, or the server is closing: the next one may be had. */
export function isLostConnection(error: unknown): boolean {
  const { code, responseCode } = error as MailerError;
  return code === 'ECONNECTION' || code === 'ESOCKET' || responseCode === 421;
}

/** The recipients that the server refused: in nodemailer's answer, and in its error where all were. */
export function rejectedOf(answer: unknown): readonly string[] {
  const { rejected } = (answer ?? {}) as { rejected?: unknown };
  if (!Array.isArray(rejected)) return [];
  return rejected.map((each: unknown) =>
    typeof each === 'string' ? each : String((each as { address?: unknown } | null)?.address),
  );
}
