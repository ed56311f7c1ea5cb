import { rollback } from 'unanimous/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { balanceOf, pool, transfer } from './accounts.ts';

test.after(() => pool.end());

test('a transfer moves money', () =>
  rollback(async () => {
    await transfer(1, 2, 30);
    assert.is(await balanceOf(1), 70);
  }));

test('the next test finds nothing of it', () =>
  rollback(async () => {
    assert.is(await balanceOf(1), 100);
  }));

test.run();
