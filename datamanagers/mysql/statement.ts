/** What can be told of a statement of MySQL or MariaDB from its text. */
import {
  type Lexicon,
  eachStatement,
  endOfLine,
  firstWord,
  isSpace,
  isWord,
  remembering,
  wordAt,
  wordBehind,
} from '../sql/scan.ts';
import type { Effect } from '../sql/state.ts';
import { isHarmless } from './functions.ts';

/** What is known of a statement from its text. */
export interface MysqlStatement {
  /** The statement in it that begins or ends a transaction; such a text is not sent. */
  readonly control: string | undefined;
  /** The statement in it that commits implicitly; such a text is not sent. */
  readonly commits: string | undefined;
  readonly effect: Effect;
  /** Whether the number of affected rows tells if it has changed any. */
  readonly tells: boolean;
  /** Whether it leaves the connection in a state that nobody else expects. */
  readonly soils: boolean;
  /** Whether it makes a savepoint. */
  readonly marks: boolean;
  /** Whether it rolls back to a savepoint. */
  readonly returns: boolean;
}

/** Looks at a text, once for those that come again. */
export const statementOf: (text: string) => MysqlStatement = remembering(lookAt);

/** MySQL's lexical rules. */
export const lexicon: Lexicon = { skipBlank, skipQuoted };

function lookAt(text: string): MysqlStatement {
  let control: string | undefined;
  let commits: string | undefined;
  let effect: Effect = 'none';
  let tells = true;
  const words = new Set<string>();
  eachStatement(lexicon, text, (start, to) => {
    const from = behindSettings(text, start, to);
    const word = firstWord(lexicon, text, from);
    const next = wordBehind(lexicon, text, from, word.length);
    control ??= controlOf(text, from, to, word, next);
    commits ??= implicitCommitOf(text, from, word, next);
    const own = effectOf(text, from, to, word, next);
    effect = stronger(effect, own);
    tells &&= own !== 'write' || (COUNTING.has(word) && !callsUnknown(text, from, to));
    words.add(word);
    return control !== undefined || commits !== undefined;
  });
  // A ROLLBACK that is no control goes to a savepoint.
  const has = (word: string): boolean => words.has(word);
  return { control, commits, effect, tells, soils: has('use'), marks: has('savepoint'), returns: has('rollback') };
}

/** MariaDB: SET STATEMENT setting = value, … FOR statement. Returns where the statement begins that is executed. */
function behindSettings(text: string, from: number, to: number): number {
  if (firstWord(lexicon, text, from) !== 'set' || wordBehind(lexicon, text, from, 'set'.length) !== 'statement')
    return from;
  let begin = from;
  eachWord(text, from, to, (word, end) => {
    if (word === 'for' && begin === from) begin = lexicon.skipBlank(text, end);
  });
  return begin;
}

const STRENGTH: Readonly<Record<Effect, number>> = { none: 0, maybe: 1, write: 2 };

function stronger(a: Effect, b: Effect): Effect {
  return STRENGTH[a] >= STRENGTH[b] ? a : b;
}

/**
 * Skips white space and comments. What is in a comment for the server (`/*! …`) is a statement as any other, so only its marks
 * are blank.
 */
function skipBlank(text: string, from: number): number {
  let at = from;
  for (;;) {
    const char = text[at];
    if (isSpace(text.charCodeAt(at))) at++;
    else if (char === '#') at = endOfLine(text, at);
    else if (char === '-' && text[at + 1] === '-' && !(text.charCodeAt(at + 2) > 32)) at = endOfLine(text, at);
    else if (char === '/' && text[at + 1] === '*') at = skipComment(text, at);
    else if (char === '*' && text[at + 1] === '/') at += 2;
    else return at;
  }
}

const FOR_SERVER = /^\/\*M?!\d*/;

function skipComment(text: string, from: number): number {
  const mark = FOR_SERVER.exec(text.slice(from, from + 12))?.[0];
  if (mark !== undefined) return from + mark.length;
  const end = text.indexOf('*/', from + 2);
  return end < 0 ? text.length : end + 2;
}

/** Texts and names in quotes. A backslash escapes, unless the server was told otherwise: then a quote may seem to go on for too long. */
function skipQuoted(text: string, from: number): number {
  const quote = text[from];
  if (quote !== "'" && quote !== '"' && quote !== '`') return from;
  for (let at = from + 1; at < text.length; at++) {
    if (text[at] === '\\' && quote !== '`') at++;
    else if (text[at] === quote) {
      if (text[at + 1] !== quote) return at + 1;
      at++;
    }
  }
  return text.length;
}

/** The statement that begins or ends a transaction. */
function controlOf(text: string, from: number, to: number, word: string, next: string): string | undefined {
  switch (word) {
    case 'begin':
      // BEGIN NOT ATOMIC is a block of statements.
      return next === 'not' ? undefined : 'BEGIN';
    case 'commit':
    case 'xa':
      return word.toUpperCase();
    case 'start':
      return next === 'transaction' ? 'START TRANSACTION' : undefined;
    case 'rollback':
      return isRollbackTo(text, from) ? undefined : 'ROLLBACK';
    case 'set':
      return setsAutocommit(text, from, to) ? 'SET autocommit' : undefined;
    default:
      return undefined;
  }
}

/** ROLLBACK [WORK] TO … */
function isRollbackTo(text: string, from: number): boolean {
  let at = lexicon.skipBlank(text, from + 'rollback'.length);
  if (wordAt(text, at) === 'work') at = lexicon.skipBlank(text, at + 4);
  return wordAt(text, at) === 'to';
}

function setsAutocommit(text: string, from: number, to: number): boolean {
  let found = false;
  eachWord(text, from, to, (word) => (found ||= /^`?autocommit`?$/i.test(word)));
  return found;
}

/** Statements that commit implicitly whatever comes behind their first word. */
const COMMITTING: ReadonlySet<string> = new Set(
  'alter rename truncate grant revoke optimize repair cache flush reset install uninstall change lock unlock import'.split(
    ' ',
  ),
);

/** The same where this comes behind the first word. */
const COMMITTING_WITH: ReadonlyMap<string, readonly string[]> = new Map([
  ['analyze', ['table', 'local', 'no_write_to_binlog']],
  ['check', ['table']],
  ['load', ['index']],
  ['set', ['password', 'default']],
  ['start', ['replica', 'slave', 'group_replication', 'all']],
  ['stop', ['replica', 'slave', 'group_replication', 'all']],
]);

/** The statement that commits what was done before it, by itself (MySQL manual, "Statements That Cause an Implicit Commit"). */
function implicitCommitOf(text: string, from: number, word: string, next: string): string | undefined {
  const commits =
    COMMITTING.has(word) ||
    COMMITTING_WITH.get(word)?.includes(next) === true ||
    ((word === 'create' || word === 'drop') && !isTemporary(text, from, word));
  return commits ? `${word} ${next}`.trim().toUpperCase() : undefined;
}

/** CREATE [OR REPLACE] TEMPORARY …, DROP TEMPORARY …, DROP PREPARE … */
function isTemporary(text: string, from: number, word: string): boolean {
  let at = lexicon.skipBlank(text, from + word.length);
  let next = wordAt(text, at);
  if (next === 'or') {
    at = lexicon.skipBlank(text, at + 2);
    at = lexicon.skipBlank(text, at + wordAt(text, at).length);
    next = wordAt(text, at);
  }
  return next === 'temporary' || (word === 'drop' && next === 'prepare');
}

const READING: ReadonlySet<string> = new Set(
  'select with table values do set handler explain describe desc'.split(' '),
);
const HARMLESS: ReadonlySet<string> = new Set(
  'show help use kill checksum savepoint release rollback get deallocate prepare signal'.split(' '),
);

/** Statements that write, and count the rows. */
const COUNTING: ReadonlySet<string> = new Set(['insert', 'replace', 'update', 'delete']);

function effectOf(text: string, from: number, to: number, word: string, next: string): Effect {
  if (HARMLESS.has(word) || (word === 'drop' && next === 'prepare')) return 'none';
  if (!READING.has(word)) return 'write';
  // EXPLAIN ANALYZE runs what it explains.
  if (next === 'analyze') return 'maybe';
  return callsUnknown(text, from, to) ? 'maybe' : 'none';
}

/** Whether it calls something that may be a stored function, which may write. */
function callsUnknown(text: string, from: number, to: number): boolean {
  let found = false;
  let qualified = false;
  eachWord(text, from, to, (word, end) => {
    if (text[lexicon.skipBlank(text, end)] === '(') found ||= qualified || !isHarmless(word);
    qualified = text[end] === '.';
  });
  return found;
}

/** Calls `visit` with each word that isn't in a text or comment, names in backticks among them, and with where it ends. */
function eachWord(text: string, from: number, to: number, visit: (word: string, end: number) => void): void {
  for (let at = from; at < to;) {
    const blank = skipBlank(text, at);
    const quoted = blank > at ? blank : skipQuoted(text, at);
    if (quoted > at) {
      if (blank === at && text[at] === '`') visit(text.slice(at, quoted), quoted);
      at = quoted;
    } else if (isWord(text.charCodeAt(at))) {
      const word = wordAt(text, at);
      at += word.length;
      visit(word, at);
    } else at++;
  }
}
