/** `unanimous/mail`: mails by nodemailer. */
export { MailSession, type MailSessionOptions } from './session.ts';
export { MailNotSentError, MailServerError, type MailResult } from './errors.ts';
export type { MailOf, MailTransport } from './driver.ts';
