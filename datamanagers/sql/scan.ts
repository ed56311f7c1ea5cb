/** Walking through the text of statements, by the lexical rules of a database. */

/** What counts as blank and as quoted in a database's SQL. */
export interface Lexicon {
  /** Where the next token begins, behind white space and comments. */
  skipBlank(text: string, from: number): number;
  /** Where the quoted piece that begins at `from` ends; `from` itself where none begins there. */
  skipQuoted(text: string, from: number): number;
}

/** Whether a character may be part of a word. */
export function isWord(char: number): boolean {
  return (
    (char >= 97 && char <= 122) || (char >= 65 && char <= 90) || char === 95 || (char >= 48 && char <= 57) || char > 127
  );
}

/** Whether a character is white space. */
export function isSpace(char: number): boolean {
  return char === 32 || (char >= 9 && char <= 13);
}

/** The word that begins at a place, in lower case; empty where none does. */
export function wordAt(text: string, from: number): string {
  let end = from;
  while (end < text.length && isWord(text.charCodeAt(end))) end++;
  return text.slice(from, end).toLowerCase();
}

/** The word behind the one of `length` characters at `from`, in lower case. */
export function wordBehind(lexicon: Lexicon, text: string, from: number, length: number): string {
  return wordAt(text, lexicon.skipBlank(text, from + length));
}

/** Where a line ends. */
export function endOfLine(text: string, from: number): number {
  let at = from;
  while (at < text.length && text.charCodeAt(at) !== 10 && text.charCodeAt(at) !== 13) at++;
  return at;
}

/** The first word of a statement in lower case, behind white space, comments and opening brackets. */
export function firstWord(lexicon: Lexicon, text: string, from = 0): string {
  let at = lexicon.skipBlank(text, from);
  while (text.charCodeAt(at) === 40) at = lexicon.skipBlank(text, at + 1);
  return wordAt(text, at);
}

/** Calls `visit` with the place where each statement of a text begins; stops where it returns true. */
export function eachStatement(lexicon: Lexicon, text: string, visit: (from: number, to: number) => boolean): void {
  let at = lexicon.skipBlank(text, 0);
  while (at < text.length) {
    if (text[at] !== ';') {
      const end = endOfStatement(lexicon, text, at);
      if (visit(at, end)) return;
      at = end;
    }
    at = lexicon.skipBlank(text, at + 1);
  }
}

function endOfStatement(lexicon: Lexicon, text: string, from: number): number {
  let depth = 0;
  let previous = '';
  for (let at = from; at < text.length;) {
    const blank = lexicon.skipBlank(text, at);
    const quoted = blank > at ? blank : lexicon.skipQuoted(text, at);
    if (quoted > at) {
      at = quoted;
      continue;
    }
    if (isWord(text.charCodeAt(at))) {
      const word = wordAt(text, at);
      // The body of a routine in standard SQL has semicolons of its own: BEGIN ATOMIC … END.
      if (word === 'atomic' && previous === 'begin') depth++;
      else if (depth > 0 && word === 'case') depth++;
      else if (depth > 0 && word === 'end') depth--;
      previous = word;
      at += word.length;
      continue;
    }
    if (text[at] === ';' && depth === 0) return at;
    at++;
  }
  return text.length;
}

const MOST_KNOWN = 1_000;
const LONGEST_KNOWN = 10_000;

/** Remembers what was found out of a text, for those that come again. */
export function remembering<S extends object>(lookAt: (text: string) => S): (text: string) => S {
  const known = new Map<string, S>();
  return (text) => {
    let found = known.get(text);
    if (found !== undefined) return found;
    found = lookAt(text);
    // Texts with values in them never come again: the oldest goes, and long ones aren't kept.
    if (text.length <= LONGEST_KNOWN) {
      if (known.size >= MOST_KNOWN) known.delete(known.keys().next().value!);
      known.set(text, found);
    }
    return found;
  };
}
