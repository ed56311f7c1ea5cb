// An error of the server that may be tried again is found in whatever a library makes of it.
import { driverErrorOf } from '../../../datamanagers/sql/wrapped.ts';
import { assert, suite } from '../../support/suite.ts';

const test = suite('errors in libraries’ errors');
const server = Object.assign(new Error('could not serialize'), { code: '40001', severity: 'ERROR' });
const wrap = (properties: object): Error => Object.assign(new Error('the library’s'), properties);

test('the driver’s error is found where libraries keep it, in several layers too', () => {
  assert.is(driverErrorOf(server), server);
  assert.is(driverErrorOf(wrap({ parent: server, original: server })), server);
  assert.is(driverErrorOf(wrap({ driverError: server })), server);
  assert.is(driverErrorOf(wrap({ driverError: wrap({ parent: server }) })), server);
});

test('of what Prisma keeps of an error its code is found', () => {
  const cause = { originalCode: '40001', originalMessage: 'could not serialize', kind: 'TransactionWriteConflict' };
  for (const error of [wrap({ cause }), wrap({ code: 'P2034', meta: { driverAdapterError: wrap({ cause }) } })]) {
    const found = driverErrorOf(error) as Error & { code?: string };
    assert.equal([found.code, found.message], ['40001', 'could not serialize']);
  }
});

test('anything else is left as it is, however strange', () => {
  const loop = wrap({});
  Object.assign(loop, { parent: loop });
  for (const error of [loop, wrap({ parent: 'x', meta: null, cause: null }), wrap({ cause: { originalCode: 7 } })]) {
    assert.is(driverErrorOf(error), error);
  }
});
