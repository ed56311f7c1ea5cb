// What code sees in a sandbox is what it sees outside of one: programs at random, run both ways.
import fc from 'fast-check';
import { type Transaction, transaction } from 'unanimous';
import { rollback } from 'unanimous/testing';
import { places } from '../../../patterns/places.ts';
import { assert, suite } from '../../../support/suite.ts';

type Action =
  | { readonly does: 'insert' | 'delete' | 'read' | 'hook' | 'refused' | 'swallow' | 'throw' | 'doom' }
  | { readonly does: 'nested' | 'savepoint' | 'joined'; readonly body: readonly Action[]; readonly fails: boolean };

/** One transaction behind the other, some of them by hand. */
type Program = readonly { readonly body: readonly Action[]; readonly by: 'run' | 'begin' }[];

const SIMPLE = [
  'insert',
  'insert',
  'insert',
  'delete',
  'read',
  'read',
  'hook',
  'refused',
  'swallow',
  'throw',
  'doom',
] as const;

const action = fc.letrec<{ action: Action; body: Action[] }>((tie) => ({
  body: fc.array(tie('action'), { maxLength: 4 }),
  action: fc.oneof(
    { maxDepth: 2, depthSize: 'small' },
    { weight: 5, arbitrary: fc.constantFrom(...SIMPLE).map((does) => ({ does })) },
    {
      weight: 2,
      arbitrary: fc.record({
        does: fc.constantFrom('nested' as const, 'savepoint' as const, 'joined' as const),
        body: tie('body'),
        fails: fc.boolean(),
      }),
    },
  ),
}));

const program: fc.Arbitrary<Program> = fc.array(
  fc.record({ body: action.body, by: fc.constantFrom('run' as const, 'begin' as const) }),
  { minLength: 1, maxLength: 4 },
);

for (const place of await places('equivalence', 3)) {
  const test = suite(`programs in and out of a sandbox on ${place.product}`, { timeoutMs: 120_000 });
  const RESET = 'delete from accounts where id > 2';

  test.after(() => place.close());

  /** Everything that the program can tell. */
  const execute = async (steps: Program): Promise<unknown[]> => {
    const seen: unknown[] = [];
    let id = 100;
    const ids = async (): Promise<number[]> =>
      (await place.rows<{ id: number }>('select id from accounts order by id')).map((row) => row.id);
    const act = async (txn: Transaction, each: Action): Promise<unknown> => {
      switch (each.does) {
        case 'insert':
          return place.run('insert into accounts (id, balance) values (?, 0)', [++id]);
        case 'delete':
          return place.run('delete from accounts where id = ?', [id]);
        case 'read':
          return seen.push(await ids());
        case 'hook':
          txn.addBeforeCommitHook(async () => seen.push('before', await ids()));
          txn.addAfterAbortHook(() => seen.push('aborted'));
          return txn.addAfterCommitHook((committed) => seen.push(committed));
        case 'refused':
          return place.run('insert into accounts (id, balance) values (1, 0)');
        case 'swallow':
          return place.run('insert into accounts (id, balance) values (1, 0)').catch(() => undefined);
        case 'throw':
          throw new Error('thrown');
        case 'doom':
          return txn.doom();
        case 'nested':
        case 'joined':
          return transaction
            .run((inner) => all(inner, each.body, each.fails), {
              propagation: each.does === 'nested' ? 'nested' : 'required',
            })
            .catch((error: Error) => seen.push(error.name));
        case 'savepoint': {
          const savepoint = await txn.savepoint();
          await all(txn, each.body, false);
          return each.fails ? savepoint.rollback() : undefined;
        }
      }
    };
    const all = async (txn: Transaction, body: readonly Action[], fails: boolean): Promise<void> => {
      for (const each of body) await act(txn, each);
      if (fails) throw new Error('fails');
    };
    for (const { body, by } of steps) {
      const ended = await transaction
        .context(async () => {
          if (by === 'run') return transaction.run((txn) => all(txn, body, false).then(() => txn), { attempts: 1 });
          const txn = await transaction.begin();
          try {
            await all(txn, body, false);
            await txn.commit();
            return txn;
          } catch (error) {
            await txn.abort();
            throw error;
          }
        })
        .catch((error: Error) => error);
      seen.push(ended instanceof Error ? ended.name : [ended.status, ended.outcome]);
    }
    seen.push(await transaction.run(ids));
    return seen;
  };

  test('each reads, ends and reports the same, and leaves nothing', async () => {
    await fc.assert(
      fc.asyncProperty(program, async (steps) => {
        const outside = await execute(steps);
        await transaction.run(() => place.run(RESET));
        const inside = await rollback(() => execute(steps));
        assert.equal(inside, outside);
        const left = await transaction.run(() => place.rows<{ id: number }>('select id from accounts order by id'));
        assert.equal(
          left.map(({ id }) => id),
          [1, 2],
        );
      }),
      { numRuns: 25 },
    );
    await place.assertClean();
  });
}
