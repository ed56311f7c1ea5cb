import { leadingKeyword, maybeSeveral, transactionControl } from '../../../datamanagers/sql/statement.ts';
import { effectOf } from '../../../datamanagers/sql/state.ts';
import { assert, suite } from '../../support/suite.ts';

const test = suite('what is told of a statement from its text');

const controls: readonly (readonly [text: string, control: string])[] = [
  ['commit', 'COMMIT'],
  ['COMMIT', 'COMMIT'],
  ['Commit Work', 'COMMIT'],
  ['commit;', 'COMMIT'],
  ['\n\t commit', 'COMMIT'],
  ['commit and chain', 'COMMIT'],
  ["commit prepared 'x'", 'COMMIT'],
  ['end', 'END'],
  ['end transaction', 'END'],
  ['rollback', 'ROLLBACK'],
  ['rollback work', 'ROLLBACK'],
  ['rollback transaction and no chain', 'ROLLBACK'],
  ["rollback prepared 'x'", 'ROLLBACK'],
  ['rollback/* to */', 'ROLLBACK'],
  ['rollback -- to\n', 'ROLLBACK'],
  ['abort', 'ABORT'],
  ['abort and chain', 'ABORT'],
  ['begin', 'BEGIN'],
  ['begin isolation level serializable', 'BEGIN'],
  ['start transaction', 'START TRANSACTION'],
  ['START  /* x */  TRANSACTION read only', 'START TRANSACTION'],
  ["prepare transaction 'x'", 'PREPARE TRANSACTION'],
  ['prepare\n-- x\ntransaction $1', 'PREPARE TRANSACTION'],
  ['/* a */ commit', 'COMMIT'],
  ['/* a /* nested */ still a comment */ commit', 'COMMIT'],
  ['-- a\r\ncommit', 'COMMIT'],
  ['-- a\rcommit', 'COMMIT'],
  ['select 1; commit', 'COMMIT'],
  ['select 1;;; commit', 'COMMIT'],
  [';commit', 'COMMIT'],
  ["select ';'; commit", 'COMMIT'],
  ["select ''';'; commit", 'COMMIT'],
  ['select "a;b"; commit', 'COMMIT'],
  ["select E'\\''; commit", 'COMMIT'],
  ["select e'a\\\\'; commit", 'COMMIT'],
  ["select '\\'; commit", 'COMMIT'],
  ['select $$;$$; commit', 'COMMIT'],
  ['select $a$ $$ ; $b$ $a$; commit', 'COMMIT'],
  ['select $1; commit', 'COMMIT'],
  ['select a$1$; commit; select b$1$', 'COMMIT'],
  ['select 1 as "atomic"; commit', 'COMMIT'],
  ["select 'atomic'; commit", 'COMMIT'],
  ['select 1 -- ;\n; commit', 'COMMIT'],
  ['create function f() returns int begin atomic select 1; end; commit', 'COMMIT'],
  ['create function f() returns int begin atomic select case when true then 1 else 2 end; end; rollback', 'ROLLBACK'],
  ['do $$ begin null; end $$; end', 'END'],
  ['select 1 as atomic; commit', 'COMMIT'],
  ['create function f() returns int begin /* x */ atomic select atomic; end; commit', 'COMMIT'],
];
for (const [text, control] of controls) {
  test(`ends or begins a transaction (zope 149): ${JSON.stringify(text)}`, () => {
    assert.is(transactionControl(text), control);
  });
}

const innocent = [
  '',
  ';',
  '   ',
  '-- commit',
  '/* commit */',
  '/* commit',
  'select 1',
  "select 'commit'",
  "select 'a'';commit'",
  "select e'\\';commit'",
  'select "commit;commit"',
  'select $$;commit;$$',
  'select $tag$;commit;$tag$',
  'select $tag$;commit;$other$;rollback;$tag$',
  'select 1 /* ; commit */',
  'select 1 -- ; commit',
  'rollback to mine',
  'rollback to savepoint mine',
  'ROLLBACK WORK TO SAVEPOINT mine',
  'rollback transaction to mine',
  'rollback /* x */ to mine',
  'savepoint commit',
  'release savepoint mine',
  'prepare transaction_ as select 1',
  'prepare commit as select 1',
  'execute commit',
  'deallocate prepare',
  'start_transaction',
  'begins',
  'commits',
  'committed',
  'select 1 as commit',
  'update t set begin = 1',
  'create table t (commit int)',
  'comment on table t is $$;commit$$',
  "do $$ begin insert into t values (';'); commit; end $$",
  'create function f() returns int language sql begin atomic select 1; select 2; end',
  'create function f() returns int language sql begin atomic select case when 1 = 1 then 1 else 2 end; commit_log(); end',
  'create procedure p() begin atomic insert into t values (1); end',
  "create function f() returns trigger language plpgsql as 'begin return new; end;'",
  'with "commit" as (select 1) select * from "commit"',
  'declare c cursor for select 1',
  'set transaction isolation level serializable',
  'lock table t; select 1',
];
for (const text of innocent) {
  test(`is no end or beginning of a transaction: ${JSON.stringify(text)}`, () => {
    assert.is(transactionControl(text), undefined);
  });
}

test('whatever a text is, looking at it ends, in time that grows with its length', () => {
  for (const hostile of [
    "'",
    '"',
    '$',
    '$$',
    '$a',
    '$a$',
    '/*',
    '--',
    "e'",
    "E'\\",
    'commit$$',
    '/* /* */',
    "'' '' ''",
    ';;;;',
    '((((',
    'atomic case case end',
    '\u0000commit',
    '🤖;commit',
    'commit\ud800',
  ]) {
    for (const text of [hostile, hostile.repeat(50), `begin${hostile}`, `commit ${hostile.repeat(2_000)}`]) {
      transactionControl(text);
      leadingKeyword(text);
      maybeSeveral(text);
    }
  }
  const long = `insert into t values ${"('begin'),".repeat(200_000)}`;
  transactionControl(long);
  transactionControl(`select begin ${'$a'.repeat(200_000)}`);
  transactionControl(`select begin ${'/*'.repeat(200_000)}`);
});

test('the leading keyword is found behind white space, comments and brackets', () => {
  for (const [text, word] of [
    ['select 1', 'select'],
    ['  INSERT into t', 'insert'],
    ['(select 1)', 'select'],
    [' ( ( /* a */ values (1)))', 'values'],
    ['-- a\n/* b */ with x as (select 1) select', 'with'],
    ['select(1)', 'select'],
    ['', ''],
    ['-- only', ''],
    ["'x'", ''],
  ]) {
    assert.is(leadingKeyword(text!), word, text);
  }
});

test('several statements are told by a semicolon that isn’t the end', () => {
  for (const text of ['select 1; select 2', "select ';' ", '; select 1', 'select 1; -- a\n select 2']) {
    assert.is(maybeSeveral(text), true, text);
  }
  for (const text of ['', 'select 1', 'select 1;', 'select 1; ', 'select 1;\n-- the end', 'select 1; /* the end */ ']) {
    assert.is(maybeSeveral(text), false, text);
  }
});

test('what isn’t known to be harmless counts as a write', () => {
  for (const word of [
    'insert',
    'INSERT',
    'with',
    'call',
    'do',
    'execute',
    'copy',
    'merge',
    'CREATE TABLE',
    'truncate',
    'notify',
    'refresh',
    '',
    'frobnicate',
  ]) {
    assert.is(effectOf(word), 'write', word);
  }
  for (const word of [
    'select',
    'SELECT',
    'values',
    'table',
    'explain',
    'fetch',
    'declare',
    'prepare',
    'set',
    'reset',
  ]) {
    assert.is(effectOf(word), 'maybe', word);
  }
  for (const word of [
    'show',
    'savepoint',
    'release',
    'ROLLBACK',
    'lock',
    'LOCK TABLE',
    'close',
    'CLOSE CURSOR',
    'DEALLOCATE ALL',
  ]) {
    assert.is(effectOf(word), 'none', word);
  }
});
