import { rollbackPerTest } from 'unanimous/testing';
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest';
import { balanceOf, pool, transfer } from './accounts.ts';

const sandbox = rollbackPerTest();
beforeEach(() => sandbox.begin());
afterEach(() => sandbox.end());
afterAll(() => pool.end());

test('a transfer moves money', async () => {
  await transfer(1, 2, 30);
  expect(await balanceOf(1)).toBe(70);
});

test('the next test finds nothing of it', async () => {
  expect(await balanceOf(1)).toBe(100);
});
