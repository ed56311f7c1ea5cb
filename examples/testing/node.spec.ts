import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, test } from 'node:test';
import { rollbackPerTest } from 'unanimous/testing';
import { balanceOf, pool, transfer } from './accounts.ts';

const sandbox = rollbackPerTest();
beforeEach(() => sandbox.begin());
afterEach(() => sandbox.end());
after(() => pool.end());

test('a transfer moves money', async () => {
  await transfer(1, 2, 30);
  assert.equal(await balanceOf(1), 70);
});

test('the next test finds nothing of it', async () => {
  assert.equal(await balanceOf(1), 100);
});
