// Tests that run at the same time: all but the one that was first are refused, and nothing of any is stored.
import { rollbackPerTest } from 'unanimous/testing';
import { afterAll, afterEach, aroundEach, beforeEach, describe, expect, test } from 'vitest';
import { rollback } from 'unanimous/testing';
import { balanceOf, pool, transfer } from '../../../../examples/testing/accounts.ts';

afterAll(() => pool.end());

describe('around each', () => {
  aroundEach((runTest) => rollback(runTest));

  test('a transfer around which a sandbox is', async () => {
    await transfer(1, 2, 30);
    expect(await balanceOf(1)).toBe(70);
  });

  test('the next one around which another is', async () => {
    expect(await balanceOf(1)).toBe(100);
  });
});

describe.concurrent('at the same time', () => {
  const sandbox = rollbackPerTest();
  beforeEach(() => sandbox.begin());
  afterEach(() => sandbox.end());

  for (const name of ['first', 'second', 'third']) {
    test(name, async () => {
      await transfer(1, 2, 30);
      expect(await balanceOf(1)).toBe(70);
    });
  }
});
