// Which statements are taken for a client's own transaction, by MySQL's lexical rules.
import { controlIn } from '../../../datamanagers/mysql/control.ts';
import { assert, suite } from '../../support/suite.ts';

const test = suite('what a client says of its own transaction, in MySQL');

for (const [text, kind] of [
  ['START TRANSACTION', 'begin'],
  ['start transaction with consistent snapshot, read only;', 'begin'],
  ['# a comment\nbegin', 'begin'],
  ['/*! begin */', 'begin'],
  ['/*!50000 commit */;', 'commit'],
  ['commit work and no chain no release', 'commit'],
  ['commit and chain', 'refused'],
  ['rollback release', 'refused'],
  ['rollback to savepoint `a;b`', 'rollback to'],
  ['set transaction isolation level read committed, read only', 'set transaction'],
  ['set session transaction isolation level read committed', undefined],
  ['set autocommit = 1', 'set transaction'],
  ['  SET @@session.autocommit=ON ;', 'set transaction'],
  ['set local autocommit := true', 'set transaction'],
  ['/* sure */ set autocommit = default', 'set transaction'],
  ['set autocommit = 0', undefined],
  ['set autocommit = 1, sql_mode = ""', undefined],
  ['set global autocommit = 1', undefined],
  ['set autocommit = 1; delete from accounts', undefined],
  ['begin not atomic select 1; end', undefined],
  ['begin; commit', undefined],
  ["xa start 'x'", undefined],
  ['start replica', undefined],
  ['prepare s from "commit"', undefined],
  ['select 1', undefined],
] as const) {
  test(`${text.replaceAll('\n', ' ')}: ${kind ?? 'none of these'}`, () => {
    assert.is(controlIn(text)?.kind, kind);
  });
}
