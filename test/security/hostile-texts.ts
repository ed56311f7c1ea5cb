// Texts with which whoever writes them would like to be something else: a statement, a line of a log, a command of a terminal, a property.

/** What moves a cursor, begins a line, or turns the direction of writing: none of it may reach a terminal or a line of a log. */
// oxlint-disable-next-line no-control-regex
export const UNPRINTABLE = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;

/** They clear the screen, set its title, colour it, begin a line and write backwards. */
export const TERMINAL = '\u001b[2J\u001b]0;owned\u0007\u009b31m\r\nforged\u202e';

/** Texts for whatever is quoted: none has a zero byte, which PostgreSQL can't hold. */
export const QUOTED: readonly string[] = [
  `it's`,
  `''`,
  `'; drop table accounts; --`,
  `\\'; drop table accounts; --`,
  `\\`,
  `\\\\'`,
  `"; drop table accounts; --`,
  '`; drop table accounts; --',
  '$tag$; drop table accounts; $tag$',
  '$1 ? :name %s %n ${x} {{x}}',
  '/* */ -- # ',
  'line\nbreak\r\n',
  TERMINAL,
  'naïve 日本語 😀 \u0301',
  '__proto__',
  'constructor',
  'toString',
];
