// What code under test sees of its transactions in a sandbox, and that nothing of it is left, on each database.
import { AsyncResource } from 'node:async_hooks';
import { DoomedTransaction, SilentRollbackError, TransientError, transaction } from 'unanimous';
import { rollback, rollbackPerTest } from 'unanimous/testing';
import { assert, suite } from '../../../support/suite.ts';
import { says } from '../../sql/helpers.ts';
import { places } from '../../../patterns/places.ts';

for (const place of await places('sandbox', 3)) {
  const test = suite(`a sandbox on ${place.product}`);
  const { session } = place;

  const add = (amount: number, id = 1): Promise<unknown> =>
    place.run('update accounts set balance = balance + ? where id = ?', [amount, id]);
  const balance = async (id = 1): Promise<number> =>
    transaction.run(async () => (await place.rows('select balance from accounts where id = ?', [id]))[0]!.balance);
  const refused = (): Promise<unknown> => place.run('insert into accounts (id, balance) values (1, 0)');

  test.after.each(async () => {
    assert.is(await place.balance(), 100, 'nothing is stored');
    await place.assertClean();
  });
  test.after(() => place.close());

  test('a commit is seen by the transactions after it, reports itself as committed, and is undone with the test', async () => {
    await rollback(async () => {
      const ended = await transaction.run(async (txn) => {
        await add(5);
        return txn;
      });
      assert.is(ended.status, 'committed');
      assert.equal(ended.outcome, { result: 'committed', way: 'one-phase' });
      assert.is(await balance(), 105);
      assert.is(await place.balance(), 100, 'nobody else sees it');
    });
  });

  test('begin, commit and abort by hand are savepoints as well, and the next test finds nothing of this one', async () => {
    await rollback(async () => {
      const first = await transaction.begin();
      await add(1);
      await transaction.commit();
      assert.is(first.status, 'committed');
      const second = await transaction.begin();
      await add(10);
      await transaction.abort();
      assert.is(second.status, 'aborted');
      assert.is(await balance(), 101);
    });
    await rollback(async () => {
      assert.is(await balance(), 100);
    });
  });

  test('an error undoes its own transaction and nothing before it', async () => {
    await rollback(async () => {
      await transaction.run(() => add(1));
      await assert.rejects(
        transaction.run(async () => {
          await add(10);
          throw new Error('no');
        }),
        says(/^no$/),
      );
      assert.is(await balance(), 101);
    });
  });

  test('a failed statement that is let through is undone with its transaction, and the sandbox goes on', async () => {
    await rollback(async () => {
      await transaction.run(() => add(1));
      await assert.rejects(
        transaction.run(async () => {
          await add(10);
          await refused();
        }),
        says(/duplicate/i),
      );
      assert.is(await balance(), 101);
    });
  });

  test('a swallowed error of a statement fails the commit as it would elsewhere', async () => {
    await rollback(async () => {
      await assert.rejects(
        transaction.run(async () => {
          await add(10);
          await refused().catch(() => undefined);
        }),
        SilentRollbackError,
      );
      assert.is(await balance(), 100);
    });
  });

  test('a doomed transaction and an error of a before-commit hook fail the commit, after-commit hooks are told', async () => {
    await rollback(async () => {
      const told: boolean[] = [];
      await assert.rejects(
        transaction.run(async (txn) => {
          txn.addAfterCommitHook((committed) => told.push(committed));
          await add(1);
          txn.addBeforeCommitHook(() => {
            throw new Error('not so');
          });
        }),
        says(/^not so$/),
      );
      await assert.rejects(
        transaction.run(async () => {
          await add(1);
          transaction.doom();
        }),
        DoomedTransaction,
      );
      assert.equal(told, [false]);
      assert.is(await balance(), 100);
    });
  });

  test('after-commit hooks run at the commit, and may begin transactions, which are in the sandbox too', async () => {
    await rollback(async () => {
      const seen: unknown[] = [];
      await transaction.run(async (txn) => {
        await add(1);
        txn.addAfterCommitHook(async (committed) => {
          seen.push(committed, await balance());
          await transaction.run(() => add(2));
        });
      });
      assert.equal(seen, [true, 101]);
      assert.is(await balance(), 103);
    });
  });

  test('after-abort hooks run at the abort, and after-commit hooks of it never', async () => {
    await rollback(async () => {
      const seen: string[] = [];
      await assert.rejects(
        transaction.run(async (txn) => {
          txn.addAfterCommitHook(() => seen.push('commit'));
          txn.addAfterAbortHook(() => seen.push('abort'));
          await add(1);
          throw new Error('no');
        }),
      );
      assert.equal(seen, ['abort']);
    });
  });

  test('savepoints and nested runs inside of a transaction are what they are elsewhere', async () => {
    await rollback(async () => {
      await transaction.run(async () => {
        await add(1);
        const savepoint = await transaction.savepoint();
        await add(10);
        await savepoint.rollback();
        await add(100);
        await savepoint.rollback();
        await transaction.run(() => add(2), { propagation: 'nested' });
        await assert.rejects(
          transaction.run(
            async () => {
              await add(1000);
              throw new Error('no');
            },
            { propagation: 'nested' },
          ),
        );
      });
      assert.is(await balance(), 103);
    });
  });

  test('a transient error is tried again, without what the first attempt has done', async () => {
    await rollback(async () => {
      const attempts: number[] = [];
      await transaction.run(
        async (txn) => {
          attempts.push(txn.attempt);
          await add(1);
          if (txn.attempt < 3) throw new TransientError('again');
        },
        { backoff: false },
      );
      assert.equal(attempts, [1, 2, 3]);
      assert.is(await balance(), 101);
    });
  });

  test('propagation does what it does elsewhere: never and mandatory see no transaction in the sandbox itself', async () => {
    await rollback(async () => {
      assert.is(transaction.current, undefined);
      await transaction.run((txn) => assert.is(txn, undefined), { propagation: 'never' });
      await assert.rejects(
        transaction.run(() => add(1), { propagation: 'mandatory' }),
        says(/must have been begun/),
      );
      await assert.rejects(async () => await add(1), says(/must have been begun/));
      await transaction.run(async (outer) => {
        await transaction.run((inner) => assert.is(inner, outer));
        await assert.rejects(
          transaction.run(() => undefined, { propagation: 'never' }),
          says(/'never'/),
        );
      });
    });
  });

  test('requires-new commits by itself; it sees what its outer one has done, and stays when that commits', async () => {
    await rollback(async () => {
      await transaction.run(async () => {
        await add(1);
        const seen = await transaction.run(
          async () => {
            await add(10);
            return (await place.rows('select balance from accounts where id = 1'))[0]!.balance;
          },
          { propagation: 'requires-new' },
        );
        assert.is(seen, 111);
        await assert.rejects(
          transaction.run(
            async () => {
              await add(1000);
              throw new Error('no');
            },
            { propagation: 'requires-new' },
          ),
        );
        await add(2);
      });
      assert.is(await balance(), 113);
    });
  });

  test('savepoints of an outer transaction are still there when an inner one has made and ended its own', async () => {
    await rollback(async () => {
      await transaction.run(async () => {
        await add(1);
        const savepoint = await transaction.savepoint();
        await transaction.run(
          async () => {
            await transaction.savepoint();
            await transaction.savepoint();
            await place.rows('select 1');
          },
          { propagation: 'requires-new' },
        );
        await add(10);
        await savepoint.rollback();
      });
      assert.is(await balance(), 101);
    });
  });

  test('what requires-new has committed goes with an outer one that is rolled back, and the end says so', async () => {
    const body = async (): Promise<void> => {
      await assert.rejects(
        transaction.run(async () => {
          await add(1);
          await transaction.run(() => add(10), { propagation: 'requires-new' });
          throw new Error('no');
        }),
        says(/^no$/),
      );
      assert.is(await balance(), 100);
    };
    await assert.rejects(rollback(body), says(/what is committed inside of another transaction stays .* was undone/));
    await rollback(body, { allowLostCommits: true });
  });

  test('what only reads inside of another one that is rolled back loses nothing', async () => {
    await rollback(async () => {
      await assert.rejects(
        transaction.run(async () => {
          await add(1);
          await transaction.run(() => place.rows('select * from accounts'), { propagation: 'requires-new' });
          throw new Error('no');
        }),
        says(/^no$/),
      );
    });
  });

  test('not-supported and suspend leave the transaction: what is begun there is its own, and the outer one goes on', async () => {
    await rollback(async () => {
      await transaction.run(async () => {
        await add(1);
        await transaction.suspend(() => transaction.run(() => add(10)));
        await transaction.run(() => transaction.run(() => add(20)), { propagation: 'not-supported' });
        await add(2);
      });
      assert.is(await balance(), 133);
    });
  });

  test('transactions that run at the same time take turns, each whole', async () => {
    await rollback(async () => {
      const one = (id: number, fails: boolean): Promise<void> =>
        transaction.run(async () => {
          await add(id);
          await add(id);
          if (fails) throw new Error('no');
        });
      const settled = await Promise.allSettled([one(1, false), one(10, true), one(100, false), one(1000, true)]);
      assert.equal(
        settled.map(({ status }) => status),
        ['fulfilled', 'rejected', 'fulfilled', 'rejected'],
      );
      assert.is(await balance(), 302);
    });
  });

  test('a read-only transaction writes nothing, and the one after it does', async () => {
    await rollback(async () => {
      await assert.rejects(
        transaction.run(() => add(1), { readOnly: true }),
        says(/read-only/),
      );
      assert.is(await balance(), 100);
      await transaction.run(() => place.rows('select * from accounts'), { readOnly: true });
      await transaction.run(() => add(1));
      assert.is(await balance(), 101);
    });
  });

  test('an isolation level is accepted, whatever the one of the sandbox is', async () => {
    await rollback(async () => {
      await transaction.run(() => add(1), { isolation: 'serializable' });
      await transaction.run(() => add(1), { isolation: 'read committed' });
      assert.is(await balance(), 102);
    });
  });

  test('a transaction that only reads says so, though others have written before', async () => {
    await rollback(async () => {
      await transaction.run(() => add(1));
      const ended = await transaction.run(async (txn) => {
        await place.rows('select * from accounts');
        return txn;
      });
      assert.is(ended.status, 'committed');
      assert.is(session.state, undefined);
    });
  });

  test('a statement that runs out of time is stopped, its transaction undone, and the sandbox goes on', async () => {
    await rollback(async () => {
      await transaction.run(() => add(1));
      const sleep = place.product === 'PostgreSQL' ? 'select pg_sleep(60)' : 'select sleep(60)';
      await assert.rejects(
        transaction.run(
          async () => {
            await add(10);
            await place.run(sleep);
          },
          { timeoutMs: 200 },
        ),
        says(/timeoutMs/),
      );
      assert.is(await balance(), 101);
      await transaction.run(() => add(2));
      assert.is(await balance(), 103);
    });
  });

  test('a statement after the end of its transaction is refused, as it would be elsewhere', async () => {
    await rollback(async () => {
      let late!: () => Promise<unknown>;
      await transaction.run(async () => {
        await add(1);
        late = AsyncResource.bind(() => add(100));
      });
      await assert.rejects(async () => await late(), says(/has ended/));
      assert.is(await balance(), 101);
    });
  });

  test('a transaction that is left open is rolled back, and the end says which', async () => {
    const sandbox = rollbackPerTest();
    await sandbox.begin();
    await transaction.context(async () => {
      const txn = await transaction.begin({ note: 'forgotten' });
      await add(1);
      await assert.rejects(sandbox.end(), says(/\(forgotten\) was left active/));
      assert.is(txn.status, 'aborted');
    });
    assert.is(sandbox.isOpen, false);
    await sandbox.end();
  });

  test('a test that throws is rolled back, and its own error is the one that is thrown', async () => {
    await assert.rejects(
      rollback(async () => {
        await transaction.run(() => add(1));
        throw new Error('the test failed');
      }),
      says(/^the test failed$/),
    );
  });
}
