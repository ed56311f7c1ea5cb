// Jest calls its hooks at other times than its concurrent tests: so these have the sandbox around their function.
import { afterAll, describe, expect, test } from '@jest/globals';
import { rollback } from 'unanimous/testing';
import { balanceOf, pool, transfer } from '../../../../examples/testing/accounts.ts';

afterAll(() => pool.end());

describe('at the same time', () => {
  test.concurrent.each(['first', 'second', 'third'])('%s', () =>
    rollback(async () => {
      await transfer(1, 2, 30);
      expect(await balanceOf(1)).toBe(70);
    }),
  );
});
