// Tests that node must report as failing, and one between them that finds nothing of the others.
import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, test } from 'node:test';
import { transaction } from 'unanimous';
import { rollbackPerTest } from 'unanimous/testing';
import { balanceOf, pool, transfer } from '../../../../examples/testing/accounts.ts';

const sandbox = rollbackPerTest();
beforeEach(() => sandbox.begin());
afterEach(() => sandbox.end());
after(() => pool.end());

test('fails by itself', async () => {
  await transfer(1, 2, 30);
  assert.equal(await balanceOf(1), 100);
});

test('finds nothing of one that failed', async () => {
  assert.equal(await balanceOf(1), 100);
});

test('leaves a transaction open', async () => {
  await transaction.begin();
});

test('finds nothing of one that left a transaction open', async () => {
  assert.equal(transaction.current, undefined);
  assert.equal(await balanceOf(1), 100);
});
