// Protects the wrappers and decorators: that they are `run` under other names, and keep what they wrap recognisable.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  AlreadyInTransaction,
  ConfigurationError,
  NoTransaction,
  type Propagation,
  type Transaction,
  TransactionClosed,
  TransactionCoordinator,
  Transactional,
  TransientError,
  ensureTransaction,
  isolatedContext,
  isolatedTask,
  onAbort,
  onCommit,
  requiresTransaction,
  transaction,
  transactional,
} from 'unanimous';
import { assert, suite } from '../support/suite.ts';
import { recording, wholeCommit } from './recording.ts';

const test = suite('transactional');

test('transactional: a call commits what the function did, with its arguments, its this and its result', async () => {
  const log: string[] = [];
  class Till {
    readonly name = 'till';
    readonly pay = transactional(function (this: Till, amount: number, currency: string = 'EUR') {
      transaction.get().join(recording(log, 'a'));
      return `${this.name} pays ${amount} ${currency}`;
    });
  }
  const till = new Till();
  assert.is(await till.pay(3), 'till pays 3 EUR');
  assert.equal(log, wholeCommit('a'));
  assert.is(transaction.current, undefined);
});

test('transactional: an error aborts, is thrown unchanged, and is not tried again unless asked', async () => {
  const log: string[] = [];
  const error = new TransientError('busy');
  let calls = 0;
  const body = (): void => {
    calls++;
    transaction.get().join(recording(log, 'a'));
    throw error;
  };
  assert.is(await assert.rejects(() => transactional(body)()), error);
  assert.is(calls, 1, 'a function may have effects of its own');
  assert.is(await assert.rejects(() => transactional(body, { attempts: 3, backoff: false })()), error);
  assert.is(calls, 4);
  assert.equal(log, ['a.abort', 'a.abort', 'a.abort', 'a.abort']);
});

test('transactional: the note is the name of the function, or what is asked', async () => {
  const note = async (): Promise<string> => transaction.get().description;
  async function closeDay(): Promise<string> {
    return transaction.get().description;
  }
  assert.is(await transactional(closeDay)(), 'closeDay');
  assert.is(await transactional(note, { note: 'at night' })(), 'at night');
  assert.is(await transactional(async () => transaction.get().description)(), '');
});

test('transactional: what wraps a function has its name and its number of parameters', () => {
  const wrapped = transactional(function pay(_from: number, _to: number): void {});
  assert.is(wrapped.name, 'pay');
  assert.is(wrapped.length, 2);
  assert.is(isolatedTask(function report(_day: string): void {}).name, 'report');
});

test('transactional: each propagation does what that of run does', async () => {
  const outcomes: Record<string, string> = {};
  const kinds: Propagation[] = [
    'required',
    'requires-new',
    'nested',
    'mandatory',
    'supports',
    'not-supported',
    'never',
  ];
  for (const propagation of kinds) {
    const seen = transactional(() => transaction.current, { propagation });
    const code = (error: { code: string }): string => error.code;
    const name = (outer?: Transaction) => (txn: Transaction | undefined) =>
      txn === undefined ? 'none' : txn === outer ? 'the outer one' : 'its own';
    const outside = await seen().then(name(), code);
    const inside = await transaction.run((outer) => seen().then(name(outer), code)).catch(code);
    outcomes[propagation] = `${outside}, ${inside}`;
  }
  assert.equal(outcomes, {
    required: 'its own, the outer one',
    'requires-new': 'its own, its own',
    nested: 'its own, the outer one',
    mandatory: 'ERR_TXN_NO_TRANSACTION, the outer one',
    supports: 'none, the outer one',
    'not-supported': 'none, none',
    never: 'none, ERR_TXN_ALREADY_IN_TRANSACTION',
  });
});

test('transactional: works on the coordinator that is named, and on no other', async () => {
  const coordinator = new TransactionCoordinator();
  const both = transactional(() => [coordinator.current?.status, transaction.current?.status], { coordinator });
  assert.equal(await both(), ['active', undefined]);
});

test('impossible arguments are refused when the function is wrapped, not when it is called', async () => {
  const fn = (): void => undefined;
  for (const wrap of [
    () => transactional(5 as never),
    () => transactional(fn, { propagation: 'sometimes' as never }),
    () => transactional(fn, { colour: 'red' } as never),
    () => transactional(fn, { coordinator: {} as never }),
    () => requiresTransaction(undefined as never),
    () => ensureTransaction(null as never),
    () => isolatedTask(fn, { propagation: 'never' } as never),
    () => isolatedTask('task' as never),
    () => isolatedContext(undefined as never),
    () => Transactional({ timeoutMs: -1 }),
    () => onCommit('later' as never),
  ]) {
    assert.instance(await assert.rejects(wrap), ConfigurationError);
  }
  assert.instance(await assert.rejects(() => transactional(fn, { attempts: 0 })), RangeError);
});

test('requiresTransaction: without one it calls nothing; with one it takes part', async () => {
  let calls = 0;
  const inside = requiresTransaction((step: number) => {
    calls++;
    return [transaction.get(), step] as const;
  });
  assert.instance(await assert.rejects(() => inside(1)), NoTransaction);
  assert.is(calls, 0);
  await transaction.run(async (txn) => assert.equal(await inside(2), [txn, 2]));
});

test('ensureTransaction: takes part, or has its own', async () => {
  const current = ensureTransaction(() => transaction.get());
  const own = await current();
  assert.is(own.status, 'committed');
  await transaction.run(async (txn) => assert.is(await current(), txn));
});

test('isolatedTask: a background task has its own transaction, and outlives that of its caller', async () => {
  const log: string[] = [];
  let go!: () => void;
  const caller = new Promise<void>((resolve) => {
    go = resolve;
  });
  const report = isolatedTask(async (day: string) => {
    const txn = transaction.get();
    await caller;
    assert.is(transaction.get(), txn);
    txn.join(recording(log, day));
    return txn;
  });
  let task!: Promise<Transaction>;
  const outer = await transaction
    .run(async (txn) => {
      task = report('monday');
      await Promise.resolve();
      assert.is(transaction.get(), txn);
      return txn;
    })
    .finally(go);
  const own = await task;
  assert.is.not(own, outer);
  assert.is(own.status, 'committed');
  assert.equal(log, wholeCommit('monday'));
});

test('isolatedTask: what it does is not undone with its caller, and its error is its own', async () => {
  const log: string[] = [];
  const task = isolatedTask(() => transaction.get().join(recording(log, 'a')));
  await assert.rejects(() =>
    transaction.run(async () => {
      await task();
      throw new Error('no');
    }),
  );
  assert.equal(log, wholeCommit('a'));
  const fails = isolatedTask(() => {
    throw new Error('task');
  });
  await transaction.run(async (txn) => {
    assert.is(((await assert.rejects(() => fails())) as Error).message, 'task');
    assert.is(txn.isDoomed(), false);
  });
});

test('isolatedContext: an empty context, where transactions can begin and end', async () => {
  await transaction.run(async (outer) => {
    const inner = await isolatedContext(async () => {
      assert.is(transaction.current, undefined);
      const txn = await transaction.begin();
      await transaction.commit();
      return txn;
    });
    assert.is(inner.status, 'committed');
    assert.is(transaction.get(), outer);
  });
});

test('onCommit: called outside of the transaction once it has committed, awaited before the commit resolves', async () => {
  const log: string[] = [];
  await transaction.run(async () => {
    onCommit(async () => {
      assert.instance(await assert.rejects(() => transaction.get()), TransactionClosed);
      await transaction.run(() => void log.push('in another'));
      log.push('sent');
    });
    log.push('worked');
  });
  assert.equal(log, ['worked', 'in another', 'sent']);
});

test('onCommit and onAbort: one of them is called, never both; a throwing onCommit leaves committed what is', async () => {
  const log: string[] = [];
  const errors: string[] = [];
  const coordinator = new TransactionCoordinator({ onError: (error) => errors.push(error.message) });
  const both = (fails: boolean): Promise<unknown> =>
    coordinator.run(() => {
      onCommit(() => log.push('committed'), { coordinator });
      onAbort(() => log.push('aborted'), { coordinator });
      if (fails) throw new Error('no');
    });
  await both(false);
  await assert.rejects(() => both(true));
  await coordinator.run(() =>
    onCommit(
      () => {
        throw new Error('lost');
      },
      { coordinator },
    ),
  );
  assert.equal(log, ['committed', 'aborted']);
  assert.equal(errors, ['lost']);
});

test('onCommit and onAbort: dropped when their savepoint is rolled back', async () => {
  const log: string[] = [];
  const end = async (fails: boolean): Promise<void> => {
    await transaction.run(async () => {
      onCommit(() => log.push('committed'));
      onAbort(() => log.push('aborted'));
      const savepoint = await transaction.savepoint();
      onCommit(() => log.push('committed, dropped'));
      onAbort(() => log.push('aborted, dropped'));
      await savepoint.rollback();
      await assert.rejects(() =>
        transaction.run(
          () => {
            onCommit(() => log.push('nested, dropped'));
            throw new Error('nested');
          },
          { propagation: 'nested' },
        ),
      );
      if (fails) throw new Error('no');
    });
  };
  await end(false);
  await assert.rejects(() => end(true));
  assert.equal(log, ['committed', 'aborted']);
});

test('onCommit: without a transaction it throws, rather than forget or call at once', async () => {
  assert.instance(await assert.rejects(() => onCommit(() => undefined)), NoTransaction);
});

test('@Transactional in standard form: methods, private and static ones, with their this', async () => {
  class Service {
    readonly #name = 'service';
    @Transactional({ note: 'greet' })
    async greet(whom: string): Promise<string> {
      return `${this.#name} greets ${whom} in ${transaction.get().description}`;
    }
    @Transactional()
    static async make(): Promise<string> {
      return transaction.get().description;
    }
    @Transactional({ propagation: 'never' })
    async #alone(): Promise<void> {}
    async alone(): Promise<void> {
      return this.#alone();
    }
  }
  assert.is(await new Service().greet('you'), 'service greets you in greet');
  assert.is(await Service.make(), 'make');
  assert.is(new Service().greet.name, 'greet');
  const refused = await assert.rejects(() => transaction.run(() => new Service().alone()));
  assert.instance(refused, AlreadyInTransaction);
});

test('@Transactional: refuses what is no method', async () => {
  const decorate = Transactional() as unknown as (...args: unknown[]) => unknown;
  const refusals = [
    await assert.rejects(() => decorate(undefined, { kind: 'field', name: 'x' })),
    await assert.rejects(() => decorate(Map, { kind: 'class', name: 'X' })),
    await assert.rejects(() => decorate({}, 'x')),
    await assert.rejects(() => decorate({}, 'x', { get: () => 1 })),
  ];
  for (const error of refusals) assert.instance(error, ConfigurationError);
});

test('@Transactional in legacy form: methods, with what other decorators have noted of them', async () => {
  const folder = join(import.meta.dirname, 'legacy');
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', join(folder, 'service.ts')], {
    env: { ...process.env, TSX_TSCONFIG_PATH: join(folder, 'tsconfig.json') },
    timeout: 25_000,
    killSignal: 'SIGKILL',
  });
  assert.equal(JSON.parse(stdout), {
    greeting: 'service greets you',
    ended: ['greet true'],
    refused: 'ERR_TXN_NO_TRANSACTION',
    name: 'greet',
    parameters: 1,
    paths: ['/greet', '/inner'],
  });
});
