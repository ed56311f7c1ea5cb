// Protects which statement of a client is taken for one about its own transaction, and what it asks for.
import { controlOf } from '../../../datamanagers/sql/control.ts';
import { lexicon } from '../../../datamanagers/sql/statement.ts';
import { assert, suite } from '../../support/suite.ts';

const test = suite('statements about a client’s own transaction');
const control = controlOf(lexicon);

for (const [text, expected] of Object.entries({
  begin: { kind: 'begin', tag: 'BEGIN', modes: {} },
  'BEGIN;': { kind: 'begin', tag: 'BEGIN', modes: {} },
  ' /* a /* b */ */ -- c\n Begin Work ; -- d': { kind: 'begin', tag: 'BEGIN', modes: {} },
  'begin transaction isolation level read committed, read only, not deferrable': {
    kind: 'begin',
    tag: 'BEGIN',
    modes: { isolation: 'read committed', readOnly: true, deferrable: false },
  },
  'start transaction read write isolation level serializable deferrable': {
    kind: 'begin',
    tag: 'START',
    modes: { isolation: 'serializable', readOnly: false, deferrable: true },
  },
  'START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY': {
    kind: 'begin',
    tag: 'START',
    modes: { other: 'with consistent snapshot read only' },
  },
  'set transaction isolation level repeatable read;': {
    kind: 'set transaction',
    tag: 'SET',
    modes: { isolation: 'repeatable read' },
  },
  "set transaction snapshot '00-1'": { kind: 'set transaction', tag: 'SET', modes: { other: "snapshot '00-1'" } },
  commit: { kind: 'commit', tag: 'COMMIT' },
  'COMMIT WORK AND NO CHAIN': { kind: 'commit', tag: 'COMMIT' },
  'end transaction': { kind: 'commit', tag: 'COMMIT' },
  'commit and chain': { kind: 'refused', tag: 'COMMIT AND CHAIN' },
  "commit prepared 'x'": { kind: 'refused', tag: "COMMIT PREPARED 'X'" },
  rollback: { kind: 'rollback', tag: 'ROLLBACK' },
  'Abort;;': undefined,
  'abort work': { kind: 'rollback', tag: 'ROLLBACK' },
  'rollback transaction and chain': { kind: 'refused', tag: 'ROLLBACK AND CHAIN' },
  'rollback to a': { kind: 'rollback to', tag: 'ROLLBACK', name: 'a' },
  'ROLLBACK WORK TO SAVEPOINT "A b"': { kind: 'rollback to', tag: 'ROLLBACK', name: '"A b"' },
  'savepoint a': { kind: 'savepoint', tag: 'SAVEPOINT', name: 'a' },
  'savepoint "savepoint";': { kind: 'savepoint', tag: 'SAVEPOINT', name: '"savepoint"' },
  'release a': { kind: 'release', tag: 'RELEASE', name: 'a' },
  'release savepoint a': { kind: 'release', tag: 'RELEASE', name: 'a' },
  "prepare transaction 'x'": { kind: 'refused', tag: 'PREPARE TRANSACTION' },
  // The rest are statements like any other, or refused as texts of several.
  'prepare x as select 1': undefined,
  'begin; select 1': undefined,
  'set local a to 1': undefined,
  'set constraints all deferred': undefined,
  'start replication': undefined,
  'select 1 /* begin */': undefined,
  "select 'commit'": undefined,
  beginning: undefined,
  '': undefined,
} as const)) {
  test(`${JSON.stringify(text)} is ${expected === undefined ? 'none' : expected.kind}`, () => {
    assert.equal(control(text), expected);
  });
}
