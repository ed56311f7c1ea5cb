// Tests that run at the same time: all but the one that was first are refused, and nothing of any is stored.
import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, describe, test } from 'node:test';
import { rollbackPerTest } from 'unanimous/testing';
import { balanceOf, pool, transfer } from '../../../../examples/testing/accounts.ts';

after(() => pool.end());

describe('at the same time', { concurrency: 3 }, () => {
  const sandbox = rollbackPerTest();
  beforeEach(() => sandbox.begin());
  afterEach(() => sandbox.end());

  for (const name of ['first', 'second', 'third']) {
    test(name, async () => {
      await transfer(1, 2, 30);
      assert.equal(await balanceOf(1), 70);
    });
  }
});
