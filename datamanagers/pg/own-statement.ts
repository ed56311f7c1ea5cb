/** Statements of the library's own that go ahead of an end: with parameters where they may be prepared, and as one text where not. */
import { literal } from './gid.ts';

/** A statement whose parameters are all texts. */
export interface OwnStatement {
  readonly text: string;
  readonly values: readonly string[];
}

/** The statement as a text without parameters, to go with others in one text. */
export function inlined({ text, values }: OwnStatement): string {
  return text.replaceAll(/\$(\d+)/g, (_parameter, number) => literal(values[Number(number) - 1]!));
}

/** @throws TypeError for a text that PostgreSQL can't hold. */
export function requireNoZero(what: string, text: string): void {
  if (text.includes('\0')) throw new TypeError(`${what} holds no zero bytes`);
}
