/** Texts that others have made, fit to be read by people: in a message, in a log, on a terminal. */

/** What begins a line, moves a cursor, colours a terminal or turns the direction of writing, and halves of characters. */
const UNPRINTABLE = /[\p{Cc}\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\p{Surrogate}]/gu;
/** `scheme://user:password@`, wherever it came from, up to the last `@`, as a password may hold one. */
const CREDENTIALS = /(\b[a-z][a-z0-9+.-]{0,40}:\/\/[^\s:/@"']*):[^\s"']*@/gi;
const SECRET_PARAMETER = /([?&][^=&\s]{0,100}(?:password|passwd|pwd|secret|token)[^=&\s]{0,100}=)[^&\s"']*/gi;
const HIDDEN = '***';

/** A text in one line, in which every character can be seen: what can't is `\u` and its number, as in JSON. */
export function printable(text: string): string {
  return text.replaceAll(UNPRINTABLE, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** A text without what looks like a password in an address. */
export function hideCredentials(text: string): string {
  return text.replace(CREDENTIALS, `$1:${HIDDEN}@`).replace(SECRET_PARAMETER, `$1${HIDDEN}`);
}
