/** What can be told of a statement from its text, without parsing it whole. */

import { type Lexicon, eachStatement, endOfLine, firstWord, isSpace, isWord, remembering, wordAt } from './scan.ts';
import { type Effect, effectOf } from './state.ts';

/** Skips white space and comments; returns where the next token begins. */
function skipBlank(text: string, from: number): number {
  let at = from;
  for (;;) {
    const char = text.charCodeAt(at);
    if (isSpace(char)) at++;
    else if (char === 45 && text.charCodeAt(at + 1) === 45) at = endOfLine(text, at);
    else if (char === 47 && text.charCodeAt(at + 1) === 42) at = skipComment(text, at);
    else return at;
  }
}

/** Block comments nest in PostgreSQL. */
function skipComment(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    if (text.startsWith('/*', at)) {
      depth++;
      at++;
    } else if (text.startsWith('*/', at)) {
      depth--;
      at++;
      if (depth === 0) return at + 1;
    }
  }
  return text.length;
}

/** Where the quoted piece that begins at `from` ends; `from` itself where none begins there. */
function skipQuoted(text: string, from: number): number {
  const char = text[from]!;
  if (char === "'" || char === '"') {
    const escapes = char === "'" && /[eE]/.test(text[from - 1] ?? '') && !isWord(text.charCodeAt(from - 2));
    for (let at = from + 1; at < text.length; at++) {
      if (escapes && text[at] === '\\') at++;
      else if (text[at] === char) {
        if (text[at + 1] !== char) return at + 1;
        at++;
      }
    }
    return text.length;
  }
  if (char === '$' && !isWord(text.charCodeAt(from - 1))) {
    const tag = /^\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/.exec(text.slice(from, from + 70))?.[0];
    if (tag === undefined) return from;
    const end = text.indexOf(tag, from + tag.length);
    return end < 0 ? text.length : end + tag.length;
  }
  return from;
}

/** PostgreSQL's lexical rules. */
export const lexicon: Lexicon = { skipBlank, skipQuoted };

/** The first word of a statement in lower case, behind white space, comments and opening brackets. */
export function leadingKeyword(text: string, from = 0): string {
  return firstWord(lexicon, text, from);
}

/** Whether a text may hold more than one statement: a semicolon that isn't its last character. Errs on the safe side. */
export function maybeSeveral(text: string): boolean {
  const at = text.indexOf(';');
  return at >= 0 && skipBlank(text, at + 1) < text.length;
}

const CONTROL = /\b(?:begin|start|commit|end|rollback|abort|prepare)\b/i;

/**
 * The statement in `text` that begins or ends a transaction, such as `COMMIT` or `PREPARE TRANSACTION`; undefined where there
 * is none. `ROLLBACK TO SAVEPOINT` isn't one, nor is a word in a string, a comment or a routine's body.
 */
export function transactionControl(text: string): string | undefined {
  if (!CONTROL.test(text)) return undefined;
  let found: string | undefined;
  eachStatement(lexicon, text, (from) => {
    const word = wordAt(text, from);
    const next = wordAt(text, skipBlank(text, from + word.length));
    if (word === 'begin' || word === 'commit' || word === 'end' || word === 'abort') found = word.toUpperCase();
    else if ((word === 'start' || word === 'prepare') && next === 'transaction')
      found = `${word} transaction`.toUpperCase();
    else if (word === 'rollback' && !isRollbackTo(text, from + word.length)) found = 'ROLLBACK';
    return found !== undefined;
  });
  return found;
}

/** ROLLBACK [WORK | TRANSACTION] TO … */
function isRollbackTo(text: string, from: number): boolean {
  let at = skipBlank(text, from);
  let word = wordAt(text, at);
  if (word === 'work' || word === 'transaction') {
    at = skipBlank(text, at + word.length);
    word = wordAt(text, at);
  }
  return word === 'to';
}

/** What is known of a statement from its text. */
export interface Statement {
  /** The statement in it that begins or ends a transaction; such a text is not sent. */
  readonly control: string | undefined;
  readonly effect: Effect;
  readonly maybeSeveral: boolean;
  /** Whether it sends a notification from a SELECT: that takes a commit, and neither the tag nor the server shows it. */
  readonly notifies: boolean;
  /** Whether it works on rows, or is a savepoint, and nothing else: what is asked for next doesn't depend on its having been done. */
  readonly isOrdinary: boolean;
  /** Whether it makes the server forget what was prepared on the connection. */
  readonly forgetsPrepared: boolean;
  /** How often it was sent. */
  uses: number;
}

/** Others may change what the next statement means, have a protocol of their own, or change the session. */
const ORDINARY: ReadonlySet<string> = new Set([
  'select',
  'insert',
  'update',
  'delete',
  'merge',
  'with',
  'values',
  'table',
  'savepoint',
  'release',
]);

const FORGETS = /\bdeallocate\s+(?:prepare\s+)?all\b/i;
const NOTIFIES = /\bpg_notify\s*\(/i;

/** Looks at a text, once for those that come again. */
export const statementOf: (text: string) => Statement = remembering((text): Statement => {
  const keyword = leadingKeyword(text);
  const several = maybeSeveral(text);
  return {
    control: transactionControl(text),
    effect: effectOf(keyword),
    notifies: NOTIFIES.test(text),
    forgetsPrepared: FORGETS.test(text),
    maybeSeveral: several,
    isOrdinary: ORDINARY.has(keyword) && !several,
    uses: 0,
  };
});
