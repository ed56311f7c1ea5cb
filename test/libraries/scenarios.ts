// What every library must do by the pool of a session, and what must not happen to it.
import { setTimeout as sleep } from 'node:timers/promises';
import { sessionState, transaction, type Session } from 'unanimous';
import { assert, type Test } from '../support/suite.ts';
import { holds, type Accounts, type Adapter } from './adapter.ts';

/** What the scenarios run on. */
export interface Stage {
  /** The library. */
  readonly library: Adapter;
  /** Another one on the same session. */
  readonly partner: Adapter;
  /** The library on a session that waits longer for a connection. */
  readonly patient: Adapter;
  readonly session: Session;
  readonly accounts: Accounts;
}

const attempts = { attempts: 1 };

async function failing(work: Promise<unknown>): Promise<Error | undefined> {
  return work.then(
    () => undefined,
    (error: Error) => error,
  );
}

/** Registers the scenarios for a library. */
export function scenarios(test: Test, stage: Stage): void {
  queries(test, stage);
  ownTransactions(test, stage);
  company(test, stage);
  mistakes(test, stage);
  streams(test, stage);
}

function queries(test: Test, { library, session, accounts }: Stage): void {
  test('queries take part in the transaction of their surroundings', async () => {
    await transaction.run(async () => {
      assert.equal(await library.ids(), [1, 2]);
      assert.is(sessionState(session), 'active');
      await library.insert(3);
      await library.update(1, 70);
      await library.remove(2);
      await accounts.insertBySession(4);
      assert.equal(await library.ids(), [1, 3, 4]);
      assert.equal(await accounts.ids(), [1, 2], 'nobody else sees it yet');
      assert.is(sessionState(session), 'changed');
    }, attempts);
    assert.equal(await accounts.ids(), [1, 3, 4]);
    assert.is(await accounts.balance(1), 70);
  });

  test('what throws rolls all of it back', async () => {
    const left = transaction.run(async () => {
      await library.insert(3);
      await library.update(1, 70);
      throw new Error('left');
    }, attempts);
    await assert.rejects(left, { message: 'left' });
    assert.equal(await accounts.ids(), [1, 2]);
    assert.is(await accounts.balance(1), 100);
  });

  test('outside of any transaction it is on its own, as it always was', async () => {
    await Promise.all([3, 4, 5].map((id) => library.insert(id)));
    await Promise.all([
      library.transaction((own) => own.insert(6)),
      failing(
        library.transaction(async (own) => {
          await own.insert(7);
          throw new Error('the library’s');
        }),
      ),
    ]);
    assert.equal(await accounts.ids(), [1, 2, 3, 4, 5, 6]);
    await transaction.run(async () => {
      await transaction.suspend(() => library.insert(8));
      await transaction.abort();
    }, attempts);
    assert.equal(await accounts.ids(), [1, 2, 3, 4, 5, 6, 8]);
    assert.equal(await library.ids(), [1, 2, 3, 4, 5, 6, 8]);
  });
}

function ownTransactions(test: Test, { library, accounts }: Stage): void {
  test('its own transaction inside of another one is a savepoint', async () => {
    const stored = transaction.run(async () => {
      await library.insert(3);
      const value = await library.transaction(async (own) => {
        await own.insert(4);
        assert.equal(await own.ids(), [1, 2, 3, 4]);
        return 'returned';
      });
      assert.is(value, 'returned');
      const error = await failing(
        library.transaction(async (own) => {
          await own.insert(5);
          throw new Error('the library’s');
        }),
      );
      assert.is(error?.message, 'the library’s');
      await library.insert(6);
    }, attempts);
    await stored;
    assert.equal(await accounts.ids(), [1, 2, 3, 4, 6]);
  });

  test('what it has committed goes with the outer one when that is rolled back', async () => {
    const left = transaction.run(async () => {
      await library.transaction((own) => own.insert(3));
      await library.transaction((own) => own.insert(4));
      throw new Error('left');
    }, attempts);
    await assert.rejects(left, { message: 'left' });
    assert.equal(await accounts.ids(), [1, 2]);
  });

  test('a failed statement in it is undone with it, and the outer one goes on', async () => {
    await transaction.run(async () => {
      const error = await failing(
        library.transaction(async (own) => {
          await own.insert(3);
          await own.insert(1);
        }),
      );
      assert.ok(error !== undefined);
      assert.equal(await library.ids(), [1, 2]);
      await library.insert(4);
    }, attempts);
    assert.equal(await accounts.ids(), [1, 2, 4]);
  });

  test('one inside of its own is a savepoint inside of that', async () => {
    await transaction.run(async () => {
      await library.transaction(async (own) => {
        await own.insert(3);
        // Not every library has them.
        if (own.nested === undefined) return;
        await own.nested((inner) => inner.insert(4));
        const error = await failing(
          own.nested(async (inner) => {
            await inner.insert(5);
            throw new Error('the inner one’s');
          }),
        );
        assert.is(error?.message, 'the inner one’s');
        await own.remove(4);
        await own.insert(6);
      });
    }, attempts);
    const hasNested = (await accounts.ids()).includes(6);
    assert.equal(await accounts.ids(), hasNested ? [1, 2, 3, 6] : [1, 2, 3]);
  });

  test('one that asks for another isolation than the outer one has is refused', async () => {
    await transaction.run(async () => {
      const error = await failing(library.transaction((own) => own.insert(3), { isolation: 'serializable' }));
      assert.ok(
        library.hidesRefusedBegin === true ? error !== undefined : holds('ERR_TXN_CONFIGURATION')(error),
        String(error),
      );
      await library.insert(4);
    }, attempts);
    await transaction.run(() => library.transaction((own) => own.insert(5), { isolation: 'serializable' }), {
      ...attempts,
      isolation: 'serializable',
    });
    assert.equal(await accounts.ids(), [1, 2, 4, 5]);
  });
}

function company(test: Test, { library, partner, patient, accounts }: Stage): void {
  test('two libraries are in one transaction, and see what the other one has done', async () => {
    const both = async (end: () => void): Promise<void> => {
      await library.insert(3);
      assert.equal(await partner.ids(), [1, 2, 3]);
      await partner.transaction(async (own) => {
        assert.equal(await own.ids(), [1, 2, 3]);
        await own.insert(4);
      });
      await library.transaction((own) => own.remove(3));
      assert.equal(await partner.ids(), [1, 2, 4]);
      end();
    };
    const left = transaction.run(
      () =>
        both(() => {
          throw new Error('left');
        }),
      attempts,
    );
    await assert.rejects(left, { message: 'left' });
    assert.equal(await accounts.ids(), [1, 2]);
    await transaction.run(() => both(() => undefined), attempts);
    assert.equal(await accounts.ids(), [1, 2, 4]);
  });

  test('at the same time in one transaction: statements and transactions of both take turns, and lose no row', async () => {
    await transaction.run(async () => {
      const inOwn = async (of: Adapter, id: number): Promise<void> => {
        await of.transaction(async (own) => {
          await own.insert(id);
          await sleep(Math.random() * 3);
          if (id % 3 === 0) throw new Error('divisible');
          await own.insert(id + 100);
        });
      };
      const errors = await Promise.all([
        failing(inOwn(library, 10)),
        failing(library.insert(50)),
        failing(inOwn(partner, 11)),
        failing(inOwn(library, 12)),
        failing(accounts.insertBySession(51)),
        failing(inOwn(library, 13)),
        failing(partner.insert(52)),
        failing(inOwn(partner, 15)),
      ]);
      assert.equal(
        errors.map((error) => error?.message),
        [undefined, undefined, undefined, 'divisible', undefined, undefined, undefined, 'divisible'],
      );
    }, attempts);
    assert.equal(await accounts.ids(), [1, 2, 10, 11, 13, 50, 51, 52, 110, 111, 113]);
  });

  test('many transactions at once each keep to their own', async () => {
    await Promise.all(
      Array.from({ length: 40 }, async (_, index) => {
        const error = await failing(
          transaction.run(async () => {
            await patient.insert(1_000 + index);
            await sleep(Math.random() * 3);
            await patient.transaction((own) => own.insert(2_000 + index));
            if (index % 2 === 1) throw new Error('odd');
          }, attempts),
        );
        assert.is(error?.message, index % 2 === 1 ? 'odd' : undefined);
      }),
    );
    const even = Array.from({ length: 20 }, (_, index) => index * 2);
    const expected = [1, 2, ...even.map((index) => 1_000 + index), ...even.map((index) => 2_000 + index)];
    assert.equal(await accounts.ids(), expected);
  });
}

function mistakes(test: Test, { library, accounts }: Stage): void {
  test('work that outlives the transaction is refused, and nothing is written', async () => {
    let late!: Promise<(Error | undefined)[]>;
    await transaction.run(async () => {
      await library.insert(3);
      late = sleep(30).then(() =>
        Promise.all([failing(library.insert(4)), failing(library.transaction((own) => own.insert(5)))]),
      );
    }, attempts);
    for (const error of await late) assert.ok(holds('ERR_TXN_CLOSED')(error), String(error));
    assert.equal(await accounts.ids(), [1, 2, 3]);
  });

  test('a handle that outlives the transaction is refused too', async () => {
    let late!: Promise<Error | undefined>;
    let ended!: () => void;
    const end = new Promise<void>((resolve) => (ended = resolve));
    const own = transaction.run(async () => {
      await library.insert(3);
      const open = library.transaction(async (handle) => {
        await handle.insert(4);
        late = end.then(() => failing(handle.insert(5)));
        await late;
      });
      open.catch(() => undefined);
      while (late === undefined) await sleep(1);
    }, attempts);
    await assert.rejects(own, { name: 'ConcurrentUseError' });
    ended();
    assert.ok(holds('ERR_TXN_CLOSED')(await late));
    assert.equal(await accounts.ids(), [1, 2]);
  });

  test('a statement that goes past the handle of its own transaction is refused in time', async () => {
    await transaction.run(async () => {
      const error = await failing(
        library.transaction(async (own) => {
          await own.insert(3);
          await library.insert(4);
        }),
      );
      assert.ok(holds('ERR_TXN_CONCURRENT_USE')(error), String(error));
      await library.insert(5);
    }, attempts);
    assert.equal(await accounts.ids(), [1, 2, 5]);
  });

  test('its own transaction over a swallowed error doesn’t end well', async () => {
    await transaction.run(async () => {
      const error = await failing(
        library.transaction(async (own) => {
          await own.insert(3);
          await failing(own.insert(1));
        }),
      );
      assert.ok(holds('ERR_TXN_SILENT_ROLLBACK')(error), String(error));
      await library.insert(4);
    }, attempts);
    assert.equal(await accounts.ids(), [1, 2, 4]);
  });

  test('an error of the server that is transient makes the whole be tried again, however the library wraps it', async () => {
    let tried = 0;
    const change = async (own: Pick<Adapter, 'ids' | 'update'>): Promise<void> => {
      await own.ids();
      // Somebody else is faster.
      if (++tried === 1) await (accounts.collide?.(own) ?? transaction.suspend(() => library.update(1, 10)));
      await own.update(1, 20);
    };
    await transaction.run(() => change(library), { isolation: 'repeatable read' });
    assert.is(tried, 2);
    tried = 0;
    await transaction.run(() => library.transaction(change), { isolation: 'repeatable read' });
    assert.is(tried, 2);
    assert.is(await accounts.balance(1), 20);
  });
}

function streams(test: Test, { library, accounts }: Stage): void {
  const { stream } = library;
  if (stream === undefined) return;

  test('a stream reads what the transaction has written, and the rest waits for its end', async () => {
    await transaction.run(async () => {
      for (let id = 3; id <= 30; id++) await library.insert(id);
      const read: number[] = [];
      for await (const id of stream()) read.push(id);
      assert.is(read.length, 30);
      await library.insert(31);
      for await (const id of stream()) {
        assert.is(id, 1);
        break;
      }
      await library.insert(32);
    }, attempts);
    assert.is((await accounts.ids()).length, 32);
  });

  test('a statement in the loop over a stream is refused in time, rather than waiting for ever', async () => {
    const stuck = transaction.run(async () => {
      for (let id = 3; id <= 2_000; id++) if (id % 10 === 0) await library.insert(id);
      for await (const id of stream()) await library.update(id, 0);
    }, attempts);
    await assert.rejects(stuck, holds('ERR_TXN_CONCURRENT_USE'));
    assert.equal(await accounts.ids(), [1, 2]);
  });

  if (library.streamsOutside === false) return;

  test('outside of any transaction it streams on a connection of its own', async () => {
    const read: number[] = [];
    for await (const id of stream()) {
      read.push(id);
      await library.update(id, 0);
    }
    assert.equal(read, [1, 2]);
  });
}
