/** Statements by which a client runs a transaction of its own: what they ask for, from their text. */
import { type Lexicon, remembering, isWord, wordAt } from './scan.ts';

/** How a transaction is to run, as far as its statement says. */
export interface Modes {
  /** In lower case, as in the options of a transaction. */
  isolation?: string;
  readOnly?: boolean;
  deferrable?: boolean;
  /** What is none of these, such as a snapshot to import. */
  other?: string;
}

/** What a client says of its own transaction, each by a statement that stands alone. */
export type Control =
  | { readonly kind: 'begin'; readonly tag: string; readonly modes: Modes }
  /** SET TRANSACTION, of the one that is open or comes next. */
  | { readonly kind: 'set transaction'; readonly tag: string; readonly modes: Modes }
  | { readonly kind: 'commit' | 'rollback'; readonly tag: string }
  | { readonly kind: 'savepoint' | 'release' | 'rollback to'; readonly tag: string; readonly name: string }
  /** One that can't be done inside of another transaction: PREPARE TRANSACTION, COMMIT AND CHAIN. */
  | { readonly kind: 'refused'; readonly tag: string };

const FIRST_WORDS: ReadonlySet<string> = new Set([
  'begin',
  'start',
  'set',
  'commit',
  'end',
  'rollback',
  'abort',
  'savepoint',
  'release',
  'prepare',
]);

/** Makes the function that recognises such a statement by the lexical rules of a database; undefined for any other text. */
export function controlOf(lexicon: Lexicon): (text: string) => Control | undefined {
  const lookAt = remembering((text) => ({ control: recognise(lexicon, text) }));
  return (text) => lookAt(text).control;
}

function recognise(lexicon: Lexicon, text: string): Control | undefined {
  const from = lexicon.skipBlank(text, 0);
  if (!FIRST_WORDS.has(wordAt(text, from))) return undefined;
  const words = wordsOf(lexicon, text, from);
  if (words === undefined) return undefined;
  const [first = '', ...rest] = words;
  switch (first) {
    case 'begin':
      return { kind: 'begin', tag: 'BEGIN', modes: modesOf(withoutNoise(rest)) };
    case 'start':
      return rest[0] === 'transaction' ? { kind: 'begin', tag: 'START', modes: modesOf(rest.slice(1)) } : undefined;
    case 'set':
      return rest[0] === 'transaction'
        ? { kind: 'set transaction', tag: 'SET', modes: modesOf(rest.slice(1)) }
        : undefined;
    case 'commit':
    case 'end':
      return ending('commit', withoutNoise(rest));
    case 'rollback':
    case 'abort':
      return ending('rollback', withoutNoise(rest));
    case 'savepoint':
      return { kind: 'savepoint', tag: 'SAVEPOINT', name: rest.join('') };
    case 'release':
      return { kind: 'release', tag: 'RELEASE', name: nameIn(rest) };
    default:
      return rest[0] === 'transaction' ? { kind: 'refused', tag: 'PREPARE TRANSACTION' } : undefined;
  }
}

function withoutNoise(words: string[]): string[] {
  return words[0] === 'work' || words[0] === 'transaction' ? words.slice(1) : words;
}

function nameIn(words: string[]): string {
  return (words[0] === 'savepoint' ? words.slice(1) : words).join('');
}

function ending(kind: 'commit' | 'rollback', rest: string[]): Control {
  const tag = kind.toUpperCase();
  if (kind === 'rollback' && rest[0] === 'to') return { kind: 'rollback to', tag, name: nameIn(rest.slice(1)) };
  const behind = rest.join(' ');
  // What is the default may be said.
  if (/^(and no chain)? ?(no release)?$/.test(behind)) return { kind, tag };
  return { kind: 'refused', tag: `${tag} ${behind.toUpperCase()}` };
}

/** The words of a text that holds one statement, in lower case, quoted pieces as they are; undefined where it holds several. */
function wordsOf(lexicon: Lexicon, text: string, from: number): string[] | undefined {
  const words: string[] = [];
  for (let at = from; at < text.length; at = lexicon.skipBlank(text, at)) {
    const quoted = lexicon.skipQuoted(text, at);
    if (quoted > at) {
      words.push(text.slice(at, quoted));
      at = quoted;
    } else if (isWord(text.charCodeAt(at))) {
      const word = wordAt(text, at);
      words.push(word);
      at += word.length;
    } else if (text[at] === ';') {
      return lexicon.skipBlank(text, at + 1) >= text.length ? words : undefined;
    } else {
      if (text[at] !== ',') words.push(text[at]!);
      at++;
    }
  }
  return words;
}

/** ISOLATION LEVEL …, READ ONLY, READ WRITE, [NOT] DEFERRABLE, in any order. */
function modesOf(words: string[]): Modes {
  const modes: Modes = {};
  for (let rest = words; rest.length > 0;) {
    const [first, second] = rest;
    let taken = 2;
    if (first === 'isolation' && second === 'level') {
      taken = rest[2] === 'serializable' ? 3 : 4;
      modes.isolation = rest.slice(2, taken).join(' ');
    } else if (first === 'read' && (second === 'only' || second === 'write')) modes.readOnly = second === 'only';
    else if (first === 'not' && second === 'deferrable') modes.deferrable = false;
    else if (first === 'deferrable') {
      modes.deferrable = true;
      taken = 1;
    } else {
      modes.other = rest.join(' ');
      return modes;
    }
    rest = rest.slice(taken);
  }
  return modes;
}
