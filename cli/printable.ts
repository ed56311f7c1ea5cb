/** Texts that others have made, fit for a terminal. */

/** What begins a line, moves a cursor, colours a terminal or turns the direction of writing, and halves of characters. */
const UNPRINTABLE = /[\p{Cc}\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\p{Surrogate}]/gu;

/** A text in one line, in which every character can be seen: what can't is `\u` and its number, as in JSON. */
export function printable(text: string): string {
  return text.replaceAll(UNPRINTABLE, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
