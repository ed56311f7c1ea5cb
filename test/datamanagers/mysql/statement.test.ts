import { statementOf } from '../../../datamanagers/mysql/statement.ts';
import { assert, suite } from '../../support/suite.ts';

const test = suite('what is told of a statement of MySQL from its text');

/** One test for each text, and that it's the same behind other statements, comments and in capitals. */
function each(title: string, texts: readonly string[], check: (text: string, what: string) => void): void {
  for (const text of texts) test(`${title}: ${JSON.stringify(text)}`, () => check(text, text));
}

const controls: readonly (readonly [text: string, control: string])[] = [
  ['commit', 'COMMIT'],
  ['Commit Work', 'COMMIT'],
  ['commit;', 'COMMIT'],
  ['commit and chain', 'COMMIT'],
  ['commit no release', 'COMMIT'],
  ['rollback', 'ROLLBACK'],
  ['rollback work', 'ROLLBACK'],
  ['rollback/* to */', 'ROLLBACK'],
  ['rollback -- to\n', 'ROLLBACK'],
  ['rollback # to\n', 'ROLLBACK'],
  ['rollback and no chain', 'ROLLBACK'],
  ['begin', 'BEGIN'],
  ['begin work', 'BEGIN'],
  ['start transaction', 'START TRANSACTION'],
  ['START  /* x */  TRANSACTION read only', 'START TRANSACTION'],
  ["xa start 'x'", 'XA'],
  ["xa end 'x'", 'XA'],
  ["xa prepare 'x'", 'XA'],
  ["XA COMMIT 'x' ONE PHASE", 'XA'],
  ['xa recover', 'XA'],
  ['set autocommit = 0', 'SET autocommit'],
  ['set @@autocommit=1', 'SET autocommit'],
  ['set @@session.autocommit = on', 'SET autocommit'],
  ['set session autocommit := 1', 'SET autocommit'],
  ['set `autocommit` = 1', 'SET autocommit'],
  ['set @x = 1, autocommit = 0', 'SET autocommit'],
  ['\n\t commit', 'COMMIT'],
  ['/* a */ commit', 'COMMIT'],
  ['/* a /* not nested */ commit', 'COMMIT'],
  ['-- a\r\ncommit', 'COMMIT'],
  ['--\ncommit', 'COMMIT'],
  ['--\tx\ncommit', 'COMMIT'],
  ['# a\ncommit', 'COMMIT'],
  ['#commit\ncommit', 'COMMIT'],
  ['/*! commit */', 'COMMIT'],
  ['/*!40101 commit */', 'COMMIT'],
  ['/*!080023 commit */', 'COMMIT'],
  ['/*M! commit */', 'COMMIT'],
  ['/*M!100100 commit */', 'COMMIT'],
  ['/*!commit*/', 'COMMIT'],
  ['/*! select 1 */; commit', 'COMMIT'],
  ['select 1; commit', 'COMMIT'],
  ['select 1;;; commit', 'COMMIT'],
  [';commit', 'COMMIT'],
  ["select ';'; commit", 'COMMIT'],
  ["select ''';'; commit", 'COMMIT'],
  ["select '\\';'; commit", 'COMMIT'],
  ["select '\\\\'; commit", 'COMMIT'],
  ['select ";"; commit', 'COMMIT'],
  ['select "\\";"; commit', 'COMMIT'],
  ['select `a;b`; commit', 'COMMIT'],
  ['select `a\\`; commit', 'COMMIT'],
  ['select `a``;`; commit', 'COMMIT'],
  ['select 1 -- ;\n; commit', 'COMMIT'],
  ['select 1 --;\n; commit', 'COMMIT'],
  ['select 2--1; commit', 'COMMIT'],
  ["select N'a', _utf8mb4'b', x'00'; commit", 'COMMIT'],
  ['begin not atomic insert into t values (1); commit; end', 'COMMIT'],
  ['set statement max_statement_time = 1 for commit', 'COMMIT'],
];
for (const [text, control] of controls) {
  test(`ends or begins a transaction (zope 149): ${JSON.stringify(text)}`, () => {
    assert.is(statementOf(text).control, control);
    assert.is(statementOf(`select 1; ${text}`).control, control);
    assert.is(statementOf(text.toUpperCase()).control?.toUpperCase(), control.toUpperCase());
  });
}

const committing: readonly (readonly [text: string, named: string])[] = [
  ['create table t (i int)', 'CREATE TABLE'],
  ['create or replace table t (i int)', 'CREATE OR'],
  ['create unique index i on t (i)', 'CREATE UNIQUE'],
  ['create database d', 'CREATE DATABASE'],
  ['create procedure p() begin end', 'CREATE PROCEDURE'],
  ['create definer = root function f() returns int return 1', 'CREATE DEFINER'],
  ['create view v as select 1', 'CREATE VIEW'],
  ['create sequence s', 'CREATE SEQUENCE'],
  ['create user u', 'CREATE USER'],
  ['alter table t add i int', 'ALTER TABLE'],
  ['alter user u', 'ALTER USER'],
  ['drop table t', 'DROP TABLE'],
  ['drop database d', 'DROP DATABASE'],
  ['drop index i on t', 'DROP INDEX'],
  ['truncate t', 'TRUNCATE T'],
  ['truncate table t', 'TRUNCATE TABLE'],
  ['rename table t to u', 'RENAME TABLE'],
  ['grant select on t to u', 'GRANT SELECT'],
  ['revoke select on t from u', 'REVOKE SELECT'],
  ['lock tables t write', 'LOCK TABLES'],
  ['unlock tables', 'UNLOCK TABLES'],
  ['flush tables', 'FLUSH TABLES'],
  ['flush privileges', 'FLUSH PRIVILEGES'],
  ['reset master', 'RESET MASTER'],
  ['analyze table t', 'ANALYZE TABLE'],
  ['analyze no_write_to_binlog table t', 'ANALYZE NO_WRITE_TO_BINLOG'],
  ['analyze local table t', 'ANALYZE LOCAL'],
  ['check table t', 'CHECK TABLE'],
  ['optimize table t', 'OPTIMIZE TABLE'],
  ['repair table t', 'REPAIR TABLE'],
  ['cache index t in k', 'CACHE INDEX'],
  ['load index into cache t', 'LOAD INDEX'],
  ["install plugin p soname 'x'", 'INSTALL PLUGIN'],
  ['uninstall plugin p', 'UNINSTALL PLUGIN'],
  ["set password = 'x'", 'SET PASSWORD'],
  ["set password for u = 'x'", 'SET PASSWORD'],
  ['set default role r to u', 'SET DEFAULT'],
  ['start slave', 'START SLAVE'],
  ['stop replica', 'STOP REPLICA'],
  ["change master to master_host = 'x'", 'CHANGE MASTER'],
  ['/*!50003 create table t (i int) */', 'CREATE TABLE'],
  ['set statement max_statement_time = 1 for create table t (i int)', 'CREATE TABLE'],
];
for (const [text, named] of committing) {
  test(`commits implicitly: ${JSON.stringify(text)}`, () => {
    assert.is(statementOf(text).commits, named);
    assert.is(statementOf(`-- x\nselect ';' ; ${text}`).commits, named);
    assert.is(statementOf(text).control, undefined);
  });
}

each(
  'neither ends a transaction nor commits it',
  [
    '',
    ';',
    '   ',
    '-- commit',
    '# commit',
    '/* commit */',
    '/* commit',
    '/*!',
    'select 1',
    "select 'commit'",
    "select 'a'';commit'",
    "select '\\';commit'",
    "select '\\\\\\';commit'",
    'select "commit;commit"',
    'select `commit;commit`',
    'select 1 /* ; commit */',
    'select 1 -- ; commit',
    'select 1 # ; commit',
    'rollback to mine',
    'rollback to savepoint mine',
    'ROLLBACK WORK TO SAVEPOINT mine',
    'rollback /* x */ to mine',
    'savepoint commit',
    'release savepoint mine',
    'begins',
    'commits',
    'select 1 as `commit`',
    'update t set begin = 1',
    'begin not atomic insert into t values (1); end',
    'create temporary table t (i int)',
    'create or replace temporary table t (i int)',
    'create /* x */ temporary table t (commit int)',
    'drop temporary table t',
    'drop temporary table if exists t',
    'drop prepare s',
    'deallocate prepare s',
    "load data infile 'x' into table t",
    "load data local infile 'x' into table t",
    'analyze select * from t',
    'analyze format=json select * from t',
    'check_it()',
    'set transaction isolation level serializable',
    'set @x = 1',
    "set @x = 'autocommit'",
    "set names 'utf8mb4' -- autocommit",
    'set sql_mode = ansi',
    'start_it()',
    'explain for connection 7',
    'set statement max_statement_time = 1 for select 1',
    'use other',
    'call commit_it()',
    'show create table t',
    'handler t open',
    'xab',
  ],
  (text) => {
    const { control, commits } = statementOf(text);
    assert.equal([control, commits], [undefined, undefined]);
  },
);

each(
  'writes, whatever else it may be',
  [
    'insert into t values (1)',
    'INSERT IGNORE t SET i = 1',
    'replace t values (1)',
    'update t set i = 1',
    'delete from t',
    'call p()',
    "load data infile 'x' into table t",
    "load xml infile 'x' into table t",
    'execute s',
    "execute immediate 'select 1'",
    'analyze insert into t values (1)',
    'begin not atomic select 1; end',
    'if 1 then select 1; end if',
    'for x in (select 1) do select 1; end for',
    'create temporary table t (i int)',
    'select 1; update t set i = 1',
    'update t set i = 1; select 1',
    '/*! insert */ into t values (1)',
    '/* x */ insert into t values (1)',
    'set statement max_statement_time = 1 for insert into t values (1)',
    'frobnicate',
    '--x',
  ],
  (text) => assert.is(statementOf(text).effect, 'write'),
);

each(
  'may write, by what it calls',
  [
    'select f()',
    'select f ()',
    'select f/* x */()',
    'select f\n()',
    'select `f`()',
    'select d.f()',
    'select d . f()',
    'select `d`.`count`()',
    'select d.count()',
    'select 1 from t where f(i) > 0',
    'select * from (select f()) as t',
    'with x as (select f() as i) select * from x',
    '(select f())',
    'do f()',
    'set @x = f()',
    'select 1 union select f()',
    'values row(f())',
    'table t union select f()',
    'select nextval(s)',
    'select get_lock(1, 2)',
    'set statement max_statement_time = 1 for select f()',
    'explain select f()',
    'explain analyze select 1',
    'select 1; select f()',
    'with cte (a) as (select 1) select a from cte',
  ],
  (text) => assert.is(statementOf(text).effect, 'maybe'),
);

each(
  'writes nothing',
  [
    '',
    'select 1',
    'select * from t for update',
    'select count(*), max(i), coalesce(a, b), if(a, 1, 2) from t where i in (1, 2) group by i having count(*) > (select 1)',
    'select cast(a as decimal(10, 2)), convert(a using utf8mb4), a like (b) from t',
    'select \'f()\', "f()", `f()` from t -- f()',
    'select 1 /* f() */',
    'select (1), ((2))',
    'select row_number() over (partition by i order by j) from t',
    'select i from t join (select 1) as x using (i)',
    'table t',
    'values row(1, 2)',
    'show tables',
    'describe t',
    'desc t',
    'explain select 1',
    'explain update t set i = 1',
    'set @x = 1',
    'set session lock_wait_timeout = 1',
    'do sleep(1)',
    'savepoint a',
    'rollback to a',
    'use d',
    'with x as (select 1) select * from x',
    'kill query 7',
    'help select',
    "prepare s from 'insert into t values (1)'",
  ],
  (text) => assert.is(statementOf(text).effect, 'none'),
);

test('savepoints, returns to them and USE are known, among several statements too', () => {
  const of = (text: string): unknown => {
    const { marks, returns, soils } = statementOf(text);
    return { marks, returns, soils };
  };
  const nothing = { marks: false, returns: false, soils: false };
  assert.equal(of('select 1'), nothing);
  assert.equal(of('release savepoint a'), nothing);
  for (const [text, told] of [
    ['savepoint a', { marks: true }],
    ['/* x */ SAVEPOINT a', { marks: true }],
    ['rollback to a', { returns: true }],
    ['rollback work to savepoint a', { returns: true }],
    ['use d', { soils: true }],
    ['select 1; use d; savepoint a', { marks: true, soils: true }],
  ] as const) {
    assert.equal(of(text), { ...nothing, ...told }, text);
  }
});

test('the affected rows tell whether a statement has changed any, but for what may do so unseen', () => {
  for (const text of [
    'select 1',
    'insert into t values (1)',
    'update t set i = 1 where j = concat(1, 2)',
    'delete from t; select 1',
  ]) {
    assert.is(statementOf(text).tells, true, text);
  }
  for (const text of ['call p()', 'insert into t select f()', 'execute s', 'delete from t; call p()', 'frobnicate']) {
    assert.is(statementOf(text).tells, false, text);
  }
});

test('whatever a text is, looking at it ends, in time that grows with its length', () => {
  for (const hostile of [
    "'",
    '"',
    '`',
    '\\',
    "'\\",
    '/*',
    '/*!',
    '/*!9',
    '*/',
    '--',
    '-- ',
    '#',
    "'' '' ''",
    ';;;;',
    '((((',
    'f(f(f(',
    'set statement ',
    'set statement for ',
    'begin not atomic ',
    'a.',
    '\u0000commit',
    '🤖;commit',
    'commit\ud800',
  ]) {
    for (const text of [hostile, hostile.repeat(50), `select ${hostile}`, `select ${hostile.repeat(20_000)}`])
      statementOf(text);
  }
  statementOf(`insert into t values ${"('begin', f(1)),".repeat(100_000)}`);
});
