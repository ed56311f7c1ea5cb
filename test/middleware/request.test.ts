// Protects the machine behind all middleware, without a framework and without a socket: when it commits, and when it aborts.
import { AsyncResource } from 'node:async_hooks';
import { type Transaction, TransactionCoordinator, TransactionManager, TransientError } from 'unanimous';
import type { RequestOptions } from 'unanimous/http';
import { settingsOf } from '../../middleware/options.ts';
import { type Answer, RequestTransaction, takesPart } from '../../middleware/request.ts';
import { recording } from '../coordinator/recording.ts';
import { assert, suite } from '../support/suite.ts';

const test = suite('the transaction of a request');
const request = { name: 'a request' };
const fine: Answer = { status: 200, tm: undefined };

type Options = RequestOptions<typeof request, string>;

function open(options: Options = {}, more: { signal?: AbortSignal; mayRepeat?: boolean } = {}) {
  const coordinator = new TransactionCoordinator();
  const settings = settingsOf('test', { coordinator, backoff: false, ...options });
  const facts = {
    request,
    response: () => 'the response',
    identity: {},
    method: 'GET',
    path: '/here',
    signal: more.signal,
    mayRepeat: () => more.mayRepeat ?? true,
  };
  return { coordinator, settings, identity: facts.identity, machine: new RequestTransaction(settings, facts) };
}

/** Performs one request whose handler joins a data manager; returns the steps that this one saw, and how it ended. */
async function perform(
  options: Options,
  answer: Answer,
  handle: (txn: Transaction, machine: RequestTransaction<typeof request, string>) => unknown = () => undefined,
): Promise<{ steps: string[]; ended: string; state: string }> {
  const steps: string[] = [];
  const { machine } = open(options);
  const ended = await machine
    .perform(async (txn) => {
      txn.join(recording(steps, 'dm'));
      await handle(txn, machine);
      return answer;
    })
    .catch((error: Error) => error.message);
  return { steps: steps.map((step) => step.slice('dm.'.length)), ended, state: machine.state };
}

const committed = ['tpcBegin', 'commit', 'tpcVote', 'tpcFinish'];

test('decides by the header, the status, the error and the veto, in this order', async () => {
  const threw = (_txn: Transaction, machine: RequestTransaction<typeof request, string>): void =>
    machine.threw(new Error('rendered'));
  const nothing = (): void => undefined;
  const cases: [options: Options, answer: Answer, handle: typeof threw, commits: boolean][] = [
    [{}, fine, nothing, true],
    [{}, { status: 302, tm: undefined }, nothing, true],
    [{}, { status: 399, tm: undefined }, nothing, true],
    [{}, { status: 400, tm: undefined }, nothing, false],
    [{}, { status: 500, tm: undefined }, nothing, false],
    [{}, { status: 500, tm: 'commit' }, nothing, true],
    [{}, { status: 500, tm: ' Commit ' }, nothing, true],
    [{}, { status: 200, tm: 'abort' }, nothing, false],
    [{}, { status: 200, tm: 'anything else' }, nothing, false],
    [{}, fine, threw, false],
    [{}, { status: 200, tm: 'commit' }, threw, true],
    [{ commitVeto: false }, { status: 500, tm: 'abort' }, nothing, true],
    [{ commitVeto: false }, fine, threw, false],
    [{ commitVeto: () => true }, fine, nothing, false],
    [{ commitVeto: () => false }, { status: 500, tm: 'abort' }, nothing, true],
    // zope 163: unless a veto approves.
    [{ commitVeto: () => false }, fine, threw, true],
  ];
  for (const [index, [options, answer, handle, commits]] of cases.entries()) {
    const { steps, ended, state } = await perform(options, answer, handle);
    assert.equal(steps, commits ? committed : ['abort'], `case ${index}`);
    assert.equal([ended, state], commits ? ['committed', 'committed'] : ['aborted', 'aborted'], `case ${index}`);
  }
});

test('a veto is told the request, the response, the transaction and the error', async () => {
  const error = new Error('rendered');
  let told: unknown[] = [];
  const veto = (...given: unknown[]): boolean => {
    told = given;
    return true;
  };
  await perform({ commitVeto: veto }, fine, (txn, machine) => {
    machine.threw(error);
    assert.is(machine.state, 'working');
    txn.note('seen');
  });
  const [first, second, txn, fourth] = told as [unknown, unknown, Transaction, unknown];
  assert.equal([first, second, txn.description, fourth], [request, 'the response', 'GET /here\nseen', error]);
});

test('a veto that throws aborts, and its error is the one thrown', async () => {
  const veto = (): boolean => {
    throw new Error('no idea');
  };
  assert.equal(await perform({ commitVeto: veto }, fine), { steps: ['abort'], ended: 'no idea', state: 'failed' });
});

test('zope 161: doomed on purpose, the response may leave; doomed by an error, only one that tells of an error', async () => {
  const doom = (txn: Transaction): void => txn.doom();
  assert.equal(await perform({}, fine, doom), { steps: ['abort'], ended: 'aborted', state: 'aborted' });
  const fail = (txn: Transaction): void => txn.doom(new Error('half done'));
  const lie = await perform({}, fine, fail);
  assert.match(lie.ended, /half done/);
  assert.is(lie.state, 'failed');
  assert.is((await perform({}, { status: 409, tm: undefined }, fail)).ended, 'aborted');
});

test('zope 168: what the commit throws is thrown, and so is what an abort throws', async () => {
  const votes = (step: 'tpcVote' | 'abort') => (txn: Transaction) => {
    txn.join(recording([], 'other', { fails: { [step]: new Error(`${step} failed`) } }));
  };
  assert.is((await perform({}, fine, votes('tpcVote'))).ended, 'tpcVote failed');
  assert.is((await perform({}, { status: 500, tm: undefined }, votes('abort'))).ended, 'abort failed');
});

test('a handler that has ended the transaction itself is fine', async () => {
  assert.is((await perform({}, fine, (txn) => txn.commit())).ended, 'committed');
  assert.equal((await perform({}, { status: 500, tm: undefined }, (txn) => txn.commit())).steps, committed);
});

test('zope 167: whether it may be tried again is asked before the abort, of who takes part', async () => {
  const { machine } = open({ attempts: 2 });
  const attempts: number[] = [];
  const steps: string[] = [];
  await machine.perform(async (txn) => {
    attempts.push(txn.attempt);
    txn.join(recording(steps, 'dm', { shouldRetry: (error: Error) => error.message === 'busy' }));
    if (txn.attempt === 1) throw new Error('busy');
    return fine;
  });
  assert.equal(attempts, [1, 2]);
  assert.equal(steps, ['dm.abort', ...committed.map((step) => `dm.${step}`)]);
});

test('what must not be repeated isn’t tried again, whether the handler failed or the commit', async () => {
  for (const where of ['handler', 'commit']) {
    const { machine } = open({ attempts: 3 }, { mayRepeat: false });
    let calls = 0;
    const failure = machine.perform(async (txn) => {
      calls++;
      const again = (): never => {
        throw new TransientError('again');
      };
      if (where === 'handler') again();
      txn.addBeforeCommitHook(again);
      return fine;
    });
    await assert.rejects(failure, TransientError);
    assert.is(calls, 1, where);
  }
});

test('an outcome in doubt is never tried again, whatever has led to it', async () => {
  const { machine } = open({ attempts: 3 });
  let calls = 0;
  const performed = machine.perform(async (txn) => {
    calls++;
    txn.join(recording([], 'dm', { fails: { tpcFinish: new TransientError('again') } }));
    return fine;
  });
  await assert.rejects(performed, { code: 'ERR_TXN_IN_DOUBT' });
  assert.equal([calls, machine.state], [1, 'failed']);
});

test('what an attempt that is lost still says is known to be stale, and what the next one says isn’t', async () => {
  const { machine } = open({ attempts: 2 });
  let checkFirst: (() => boolean) | undefined;
  await machine.perform(async (txn) => {
    if (txn.attempt === 1) {
      checkFirst = machine.inside(() => AsyncResource.bind(() => machine.isStale));
      throw new TransientError('again');
    }
    assert.is(machine.isStale, false);
    return fine;
  });
  assert.is(checkFirst!(), true);
  assert.is(machine.isStale, false, 'outside of both');
});

test('a signal that is aborted before the decision aborts, and the answer comes to nothing', async () => {
  const controller = new AbortController();
  const { machine } = open({}, { signal: controller.signal });
  const steps: string[] = [];
  const performed = machine.perform(async (txn) => {
    txn.join(recording(steps, 'dm'));
    controller.abort(new Error('gone'));
    return fine;
  });
  await assert.rejects(performed, { code: 'ERR_TXN_DOOMED' });
  assert.equal(steps, ['dm.abort']);
  assert.is(machine.state, 'failed');
});

test('a signal of one’s own is heeded beside the client’s', async () => {
  const controller = new AbortController();
  const options = { begin: () => ({ signal: controller.signal }) };
  const { machine } = open(options, { signal: new AbortController().signal });
  const performed = machine.perform(async () => {
    controller.abort(new Error('enough'));
    return fine;
  });
  await assert.rejects(performed, (error: unknown) => /enough/.test((error as Error).message));
});

test('zope 166: the user is asked for inside the transaction, and again where there was none before the handler', async () => {
  const users = [undefined, 'alice'];
  const { machine, coordinator } = open({
    annotateUser: () => {
      assert.is(coordinator.current?.status, 'active');
      return users.shift();
    },
  });
  let seen: Transaction | undefined;
  await machine.perform(async (txn) => {
    assert.is(txn.user, '');
    seen = txn;
    return fine;
  });
  assert.is(seen!.user, 'alice');
});

test('zope 160: a manager of the request’s own takes the place of the coordinator', async () => {
  const manager = new TransactionManager();
  const { machine, coordinator } = open({ manager: () => manager });
  await machine.perform(async (txn) => {
    assert.is(manager.current, txn);
    assert.is(coordinator.current, undefined);
    return fine;
  });
  assert.is(manager.current, undefined);
});

test('a second middleware for the same request takes part, or is refused by the names of what it wants otherwise', () => {
  const { settings, identity } = open({ isolation: 'serializable' });
  assert.is(takesPart(settings, {}), false);
  assert.is(takesPart(settings, identity), true);
  assert.is(takesPart(settingsOf('test', { attempts: 3 }), identity), true);
  assert.throws(
    () => takesPart(settingsOf('test', { isolation: 'read committed', timeoutMs: 5 }), identity),
    (error: Error) => /isolation and timeoutMs/.test(error.message),
  );
});

test('options that aren’t any are refused by name', () => {
  const wrong: [options: object, message: RegExp][] = [
    [{ comitVeto: false }, /has no option 'comitVeto'/],
    [{ commitVeto: true }, /'commitVeto' must be a function or false/],
    [{ attempts: 0 }, /'attempts' must be a whole number of at least 1/],
    [{ streams: 'hold' }, /'streams' must be one of 'commit' and 'buffer'/],
    [{ coordinator: {} }, /'coordinator' must be a TransactionCoordinator/],
    [{ isolation: 'strict' }, /'isolation' must be one of/],
  ];
  for (const [options, message] of wrong) {
    assert.throws(
      () => settingsOf('test', options),
      (error: Error) => message.test(error.message),
    );
  }
});
