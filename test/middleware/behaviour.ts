// What every middleware must do, against the real framework, real sockets and a real PostgreSQL.
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { type Socket, connect } from 'node:net';
import { Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import {
  NoTransaction,
  type Transaction,
  TransactionClosed,
  TransactionCoordinator,
  TransientError,
  transaction,
} from 'unanimous';
import { Database } from '../datamanagers/pg/setup.ts';
import { postgres } from '../support/servers.ts';
import { assert, type Test } from '../support/suite.ts';
import type { Extras, Framework, Options, Routes, Running, Said } from './framework.ts';

const REQUESTS = 200;

/** An answer as the client has read it. */
interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** Registers the tests of one framework. */
export async function behaves(test: Test, framework: Framework): Promise<{ db: Database }> {
  const db = await Database.open(await postgres(), { name: 'requests', pool: { max: 8 } });
  await db.admin.query(`create table notes (id int primary key, txn text);
    create table parents (id int primary key);
    create table children (parent int references parents deferrable initially deferred)`);
  const { session } = db;
  const started: Running[] = [];

  test.after.each(async () => {
    for (const each of started.splice(0)) await each.close();
    await db.assertClean();
    await db.admin.query('delete from notes');
  });
  test.after(() => db.close());

  const insert = async (id: number): Promise<void> => {
    await session.query('insert into notes values ($1, $2)', [id, transaction.get().id]);
  };
  const stored = async (): Promise<number[]> =>
    (await db.admin.query<{ id: number }>('select id from notes order by id')).rows.map(({ id }) => id);

  /** Serves routes until the test ends; returns a client for them. */
  const serve = async (routes: Routes, options: Options = {}, extras: Extras = {}): Promise<Client> => {
    const server = await framework.serve(routes, options, extras);
    started.push(server);
    return new Client(server);
  };
  /** Serves one route, and asks for it. */
  const ask = async (route: Routes[string], options: Options = {}, extras: Extras = {}): Promise<Answer> =>
    (await serve({ it: route }, options, extras)).get('/it');

  test('commits what the handler did, and answers as it says', async () => {
    const answer = await ask(async () => {
      await insert(1);
      return { status: 201, headers: { 'x-made': 'yes' }, json: { done: true } };
    });
    assert.is(answer.status, 201);
    assert.is(answer.headers.get('x-made'), 'yes');
    assert.equal(JSON.parse(answer.text), { done: true });
    assert.equal(await stored(), [1]);
  });

  test('no byte of the response leaves before the commit is done', async () => {
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    let waits = false;
    const client = await serve({
      async held({ tm }) {
        await insert(1);
        tm!.addBeforeCommitHook(async () => {
          waits = true;
          await gate;
        });
        return { json: 'done' };
      },
      async other() {
        return { json: 'other' };
      },
    });
    const socket = await client.socket();
    let received = '';
    socket.setEncoding('latin1').on('data', (chunk: string) => (received += chunk));
    socket.write('GET /held HTTP/1.1\r\nhost: a\r\n\r\n');
    await assert.eventually(() => waits);
    // Whatever was on its way has arrived before another request was answered whole.
    for (let index = 0; index < 3; index++) await client.get('/other');
    assert.is(received, '');
    assert.equal(await stored(), []);
    open();
    await assert.eventually(() => received.includes('done'));
    assert.equal(await stored(), [1]);
    socket.destroy();
  });

  test('the row is there when the client reads the answer', async () => {
    let id = 0;
    const client = await serve({
      async it() {
        await insert(++id);
        return { json: id };
      },
    });
    for (let index = 0; index < 10; index++) {
      const { text } = await client.get('/it');
      assert.ok((await stored()).includes(Number(text)));
    }
  });

  test('zope 162: a handler that throws aborts, and the error gets its page', async () => {
    const answer = await ask(async ({ header }) => {
      header('x-made', 'yes');
      await insert(1);
      throw new Error('no');
    });
    assert.is(answer.status, 500);
    assert.equal(await stored(), []);
  });

  test('zope 163: a page that is made of an error, whatever its status, is that of an aborted transaction', async () => {
    const route = async (): Promise<Said> => {
      await insert(1);
      throw new Error('forgiven');
    };
    const answer = await ask(route, {}, { forgives: true });
    assert.is(answer.status, 200);
    assert.match(answer.text, /forgiven/);
    assert.equal(await stored(), []);
  });

  test('departure from zope 164: a status of 400 or more aborts, and is sent with its body', async () => {
    for (const status of [400, 404, 409, 500, 503]) {
      const answer = await ask(async () => {
        await insert(status);
        return { status, json: { sorry: status } };
      });
      assert.is(answer.status, status);
      assert.equal(JSON.parse(answer.text), { sorry: status });
    }
    assert.equal(await stored(), []);
  });

  test('zope 165: the header x-tm decides before the status does, and isn’t sent', async () => {
    const client = await serve({
      async keep() {
        await insert(1);
        return { status: 409, headers: { 'x-tm': 'commit' }, json: 'kept' };
      },
      async drop() {
        await insert(2);
        return { status: 200, headers: { 'X-Tm': 'abort' }, json: 'dropped' };
      },
    });
    const [kept, dropped] = [await client.get('/keep'), await client.get('/drop')];
    assert.equal([kept.status, kept.text, dropped.status, dropped.text], [409, '"kept"', 200, '"dropped"']);
    assert.equal([kept.headers.get('x-tm'), dropped.headers.get('x-tm')], [null, null]);
    assert.equal(await stored(), [1]);
  });

  test('exposeHeader sends the header x-tm', async () => {
    const answer = await ask(async () => ({ headers: { 'x-tm': 'abort' }, json: 1 }), { exposeHeader: true });
    assert.is(answer.headers.get('x-tm'), 'abort');
  });

  test('commitVeto: false is zope’s: only an error aborts', async () => {
    const client = await serve(
      {
        async says() {
          await insert(1);
          return { status: 500, headers: { 'x-tm': 'abort' }, json: 'sorry' };
        },
        async throws() {
          await insert(2);
          throw new Error('no');
        },
      },
      { commitVeto: false },
    );
    assert.is((await client.get('/says')).status, 500);
    assert.is((await client.get('/throws')).status, 500);
    assert.equal(await stored(), [1]);
  });

  test('a commitVeto of one’s own is told the request and the transaction, and decides alone', async () => {
    const told: unknown[] = [];
    const client = await serve(
      {
        async it({ query }) {
          await insert(Number(query.get('id')));
          return { status: 500, json: 1 };
        },
      },
      {
        commitVeto: async (request, _response, txn, error) => {
          const url = framework.rawOf(request).url!;
          told.push([txn.status, error]);
          await turn();
          return url.includes('id=2');
        },
      },
    );
    await client.get('/it?id=1');
    await client.get('/it?id=2');
    assert.equal(told, [
      ['active', undefined],
      ['active', undefined],
    ]);
    assert.equal(await stored(), [1]);
  });

  test('zope 161: a doomed transaction is aborted, and the response sent', async () => {
    const answer = await ask(async ({ tm }) => {
      await insert(1);
      tm!.doom();
      return { json: 'fine' };
    });
    assert.equal([answer.status, answer.text], [200, '"fine"']);
    assert.equal(await stored(), []);
  });

  test('a success is never sent where an error that was caught has doomed the transaction', async () => {
    const answer = await ask(async () => {
      await insert(1);
      await transaction
        .run(() => {
          throw new Error('half done');
        })
        .catch(() => undefined);
      return { headers: { 'x-made': 'yes' }, json: 'fine' };
    });
    assert.is(answer.status, 500);
    assert.is(answer.headers.get('x-made'), null);
    assert.not.match(answer.text, /fine/);
    assert.equal(await stored(), []);
  });

  test('zope 168: where the commit fails the client gets the error’s page, and nothing of the success', async () => {
    const client = await serve({
      async it() {
        await insert(1);
        await session.query('insert into children values (7)');
        return { status: 201, headers: { 'x-made': 'yes', 'set-cookie': 'a=b', 'last-modified': 'now' }, json: 'fine' };
      },
    });
    const answer = await client.get('/it');
    assert.is(answer.status, 500);
    assert.equal(
      ['x-made', 'set-cookie', 'last-modified'].map((name) => answer.headers.get(name)),
      [null, null, null],
    );
    assert.not.match(answer.text, /fine/);
    assert.equal(await stored(), []);
    // The connection goes on.
    assert.is((await client.get('/it')).status, 500);
  });

  test('a statement that fails and is caught can’t be answered with a success', async () => {
    const answer = await ask(async () => {
      await insert(1);
      await session.query('insert into notes values (1)').catch(() => undefined);
      return { json: 'fine' };
    });
    assert.is(answer.status, 500);
    assert.equal(await stored(), []);
  });

  test('a client that goes away before the decision: aborted, and the statement cancelled', async () => {
    let seen: Transaction | undefined;
    let failure: unknown;
    const client = await serve({
      async it({ tm }) {
        seen = tm;
        await insert(1);
        await session.query('select pg_sleep(600)').catch((error: unknown) => {
          failure = error;
          throw error;
        });
        return { json: 'fine' };
      },
    });
    const socket = await client.socket();
    socket.write('GET /it HTTP/1.1\r\nhost: a\r\n\r\n');
    await assert.eventually(async () => (await db.activity()).some(({ query }) => query.includes('pg_sleep')));
    socket.destroy();
    await assert.eventually(() => seen!.status === 'aborted');
    await assert.eventually(() => failure !== undefined);
    assert.equal(await stored(), []);
  });

  test('a client that goes away while its pipelined request waits its turn: aborted as well', async () => {
    const seen: Transaction[] = [];
    const client = await serve({
      async it({ tm }) {
        seen.push(tm!);
        await insert(seen.length);
        await session.query('select pg_sleep(600)');
        return { json: 'fine' };
      },
    });
    const socket = await client.socket();
    socket.write('GET /it HTTP/1.1\r\nhost: a\r\n\r\nGET /it HTTP/1.1\r\nhost: a\r\n\r\n');
    await assert.eventually(
      async () => (await db.activity()).filter(({ query }) => query.includes('pg_sleep')).length === 2,
    );
    socket.destroy();
    await assert.eventually(() => seen.every(({ status }) => status === 'aborted'));
    assert.equal(await stored(), []);
  });

  test('zope 158: activate leaves a request without a transaction', async () => {
    const client = await serve(
      {
        async with({ tm }) {
          return { json: [tm?.status, transaction.current?.status] };
        },
        async without({ tm }) {
          return { json: [tm === undefined, transaction.current === undefined] };
        },
      },
      { activate: (request) => !framework.rawOf(request).url!.startsWith('/without') },
    );
    assert.is((await client.get('/with')).text, '["active","active"]');
    assert.is((await client.get('/without')).text, '[true,true]');
  });

  test('zope 160, 166: the transaction is at hand, notes what was asked for, and names who asks', async () => {
    const asked: boolean[] = [];
    const client = await serve(
      {
        async it({ tm }) {
          const current = transaction.get();
          return { json: [tm === current, current.description, current.user] };
        },
      },
      {
        annotateUser: async (request) => {
          asked.push(transaction.current !== undefined);
          return framework.rawOf(request).headers['x-user'] as string | undefined;
        },
      },
    );
    const { text } = await client.get('/it?secret=1', { 'x-user': 'alice' });
    assert.equal(JSON.parse(text), [true, 'GET /it', 'alice']);
    assert.is(JSON.parse((await client.get('/it')).text)[2], '');
    assert.ok(asked.every(Boolean), 'inside of the transaction');
  });

  test('notes what it is told to, or nothing', async () => {
    const route = async (): Promise<Said> => ({ json: transaction.get().description });
    assert.is((await ask(route, { note: () => 'mine' })).text, '"mine"');
    assert.is((await ask(route, { note: false })).text, '""');
  });

  test('begins as it is told: isolation for all, read-only for some', async () => {
    const client = await serve(
      {
        async it({ method }) {
          const { rows } = await session.query<{ level: string }>(
            "select current_setting('transaction_isolation') level",
          );
          if (method === 'POST') await insert(1);
          else await insert(2);
          return { json: rows[0]!.level };
        },
      },
      {
        isolation: 'serializable',
        begin: (request) => ({ readOnly: framework.rawOf(request).method === 'GET' }),
      },
    );
    assert.is((await client.get('/it')).status, 500);
    assert.is((await client.post('/it', {})).text, '"serializable"');
    assert.equal(await stored(), [1]);
  });

  test('works in the coordinator that it is given, or that a hook chooses', async () => {
    const other = new TransactionCoordinator();
    const route = async (): Promise<Said> => ({ json: [other.current?.status, transaction.current?.status] });
    assert.is((await ask(route, { coordinator: other })).text, '["active",null]');
    assert.is((await ask(route, { manager: () => other })).text, '["active",null]');
  });

  test('what keeps a transaction from beginning, or a hook among the options that throws, is answered with an error', async () => {
    const fail = (): never => {
      throw new Error('no idea');
    };
    const closed = new TransactionCoordinator();
    await closed.close();
    let calls = 0;
    const route = async (): Promise<Said> => {
      calls++;
      await insert(calls);
      return { json: 'fine' };
    };
    const wrong: Options[] = [
      { coordinator: closed },
      { activate: fail },
      { begin: fail },
      { begin: () => ({ isolation: 'strict' as 'serializable' }) },
      { manager: fail },
      { note: fail },
      { annotateUser: fail },
    ];
    for (const options of wrong) {
      const answer = await ask(route, options);
      assert.is(answer.status, 500, Object.keys(options).join());
      assert.not.match(answer.text, /fine/);
    }
    assert.is(calls, 0);
    assert.is((await ask(route, { commitVeto: fail })).status, 500);
    assert.equal(await stored(), []);
  });

  test('a request is a context of its own, also where the server was started in one', async () => {
    const { txn, client } = await transaction.context(async () => {
      const txn = await transaction.begin();
      const client = await serve({ it: async ({ tm }) => ({ json: tm!.id }) });
      const { text } = await client.get('/it');
      assert.is.not(JSON.parse(text), txn.id);
      assert.is(txn.status, 'active');
      await txn.commit();
      return { txn, client };
    });
    assert.is.not(JSON.parse((await client.get('/it')).text), txn.id);
  });

  test('pitfall 8: behind a body that is parsed, the handler is in the transaction of its own request', async () => {
    const client = await serve({
      async it({ body, tm }) {
        const { id } = body as { id: number };
        await insert(id);
        return { json: tm === transaction.current };
      },
    });
    const big = 'x'.repeat(80_000);
    const answers = await Promise.all(
      [1, 2, 3, 4].map((id) => client.post('/it', { id, big: id % 2 === 0 ? big : '' })),
    );
    assert.equal(
      answers.map(({ text }) => text),
      ['true', 'true', 'true', 'true'],
    );
    assert.equal(await stored(), [1, 2, 3, 4]);
  });

  test('zope 172: a transient error is tried again in another transaction, and nothing of the failed attempt is sent', async () => {
    const seen: [attempt: number, id: string][] = [];
    const client = await serve(
      {
        async it({ tm, header, body }) {
          seen.push([tm!.attempt, tm!.id]);
          await insert((body as { id: number }).id);
          if (tm!.attempt === 1) {
            header('x-failed', 'yes');
            throw new TransientError('again');
          }
          return { status: 201, json: tm === transaction.current };
        },
      },
      { attempts: 3, backoff: false },
    );
    const answer = await client.post('/it', { id: 5 });
    assert.equal([answer.status, answer.text, answer.headers.get('x-failed')], [201, 'true', null]);
    assert.equal(
      seen.map(([attempt]) => attempt),
      [1, 2],
    );
    assert.is.not(seen[0]![1], seen[1]![1]);
    assert.equal(await stored(), [5]);
  });

  test('a commit that fails for a passing reason is tried again with its handler', async () => {
    const client = await serve(
      {
        async it({ tm }) {
          const { attempt } = tm!;
          await insert(attempt);
          tm!.addBeforeCommitHook(() => {
            if (attempt < 3) throw new TransientError('again');
          });
          return { status: 200 + attempt, headers: { [`x-attempt-${attempt}`]: 'yes' }, json: attempt };
        },
      },
      { attempts: 3, backoff: false },
    );
    const answer = await client.get('/it');
    assert.equal([answer.status, answer.text], [203, '3']);
    assert.equal(
      [1, 2, 3].map((attempt) => answer.headers.get(`x-attempt-${attempt}`)),
      [null, null, 'yes'],
    );
    assert.equal(await stored(), [3]);
  });

  test('the last error is not tried again, nor one that is no passing one', async () => {
    let calls = 0;
    const client = await serve(
      {
        async passing() {
          calls++;
          throw new TransientError('again');
        },
        async lasting() {
          calls++;
          throw new Error('never');
        },
      },
      { attempts: 3, backoff: false },
    );
    assert.is((await client.get('/passing')).status, 500);
    assert.is(calls, 3);
    assert.is((await client.get('/lasting')).status, 500);
    assert.is(calls, 4);
  });

  test('tries nothing again unless it is told to', async () => {
    let calls = 0;
    const { status } = await ask(async () => {
      calls++;
      throw new TransientError('again');
    });
    assert.equal([status, calls], [500, 1]);
  });

  test('mounted twice, the inner one takes part: there are never two transactions for a request', async () => {
    const begun: string[] = [];
    const coordinator = new TransactionCoordinator();
    const manager = (): TransactionCoordinator => {
      begun.push('one');
      return coordinator;
    };
    const route = async (): Promise<Said> => ({ json: coordinator.current?.status });
    assert.is((await ask(route, { manager }, { again: { manager } })).text, '"active"');
    assert.equal(begun, ['one']);
  });

  test('mounted twice with another way to begin, the inner one refuses', async () => {
    const route = async (): Promise<Said> => ({ json: 'fine' });
    const answer = await ask(route, {}, { again: { isolation: 'serializable' } });
    assert.is(answer.status, 500);
    assert.not.match(answer.text, /fine/);
  });

  test('timeoutMs answers with an error when the time is up; what the handler says later goes nowhere', async () => {
    let late: Promise<unknown> | undefined;
    let go = (): void => undefined;
    const gate = new Promise<void>((resolve) => (go = resolve));
    const client = await serve(
      {
        async slow() {
          await insert(1);
          late = gate.then(() => session.query('select 1').catch((error: unknown) => error));
          await late;
          return { status: 200, headers: { 'x-late': 'yes' }, json: 'late' };
        },
        async it() {
          return { json: 'fine' };
        },
      },
      { timeoutMs: 200 },
    );
    const socket = await client.socket();
    let received = '';
    socket.setEncoding('latin1').on('data', (chunk: string) => (received += chunk));
    socket.write('GET /slow HTTP/1.1\r\nhost: a\r\n\r\n');
    await assert.eventually(() => received.startsWith('HTTP/1.1 5'));
    go();
    assert.instance(await late, TransactionClosed);
    await turn();
    // The connection is as good as before, and nothing of the late answer is on it.
    socket.write('GET /it HTTP/1.1\r\nhost: a\r\n\r\n');
    await assert.eventually(() => received.includes('"fine"'));
    assert.not.match(received, /late/);
    socket.destroy();
    assert.equal(await stored(), []);
  });

  test('keep-alive and pipelining: each request has a transaction of its own, and answers come in order', async () => {
    const client = await serve({
      async it({ query }) {
        const id = Number(query.get('id'));
        // The later ones are done first.
        for (let index = id; index < 6; index++) await turn();
        await insert(id);
        return { json: `answer ${id}` };
      },
    });
    const socket = await client.socket();
    let received = '';
    socket.setEncoding('latin1').on('data', (chunk: string) => (received += chunk));
    socket.write([1, 2, 3, 4, 5].map((id) => `GET /it?id=${id} HTTP/1.1\r\nhost: a\r\n\r\n`).join(''));
    await assert.eventually(() => received.includes('answer 5'));
    assert.equal(
      [...received.matchAll(/answer (\d)/g)].map(([, id]) => id),
      ['1', '2', '3', '4', '5'],
    );
    socket.destroy();
    const { rows } = await db.admin.query<{ n: number }>('select count(distinct txn)::int n from notes');
    assert.is(rows[0]!.n, 5);
  });

  test('HEAD, 204 and 304 commit, and have no body', async () => {
    const client = await serve({
      async it({ query }) {
        const status = Number(query.get('status'));
        await insert(status);
        return status === 200 ? { json: 'fine' } : { status, headers: { 'x-made': 'yes' } };
      },
    });
    const head = await client.ask('HEAD', '/it?status=200');
    assert.equal([head.status, head.text], [200, '']);
    for (const status of [204, 304]) {
      const answer = await client.get(`/it?status=${status}`);
      assert.equal([answer.status, answer.text, answer.headers.get('x-made')], [status, '', 'yes']);
    }
    assert.equal(await stored(), [200, 204, 304]);
  });

  test('a stream is sent whole, behind the commit', async () => {
    const when: unknown[] = [];
    const answer = await ask(async ({ tm }) => {
      await insert(1);
      const pieces = async function* (): AsyncGenerator<string> {
        for (let index = 0; index < 50; index++) {
          await turn();
          if (index === 0) when.push(tm!.status);
          yield `${'x'.repeat(4000)}${index}\n`;
        }
      };
      return { stream: Readable.from(pieces()) };
    });
    assert.is(answer.status, 200);
    assert.is(answer.text.split('\n').length, 51);
    assert.equal(await stored(), [1]);
  });

  test('a stream that reads from the database behind the commit gets an error that says so, and the client a broken response', async () => {
    let failure: unknown;
    const client = await serve({
      async it() {
        await insert(1);
        const pieces = async function* (): AsyncGenerator<string> {
          yield 'begun';
          // Until the response has begun, which is behind the commit.
          while (transaction.current !== undefined) await turn();
          try {
            await session.query('select 1');
          } catch (error) {
            failure = error;
            throw error;
          }
          yield 'never';
        };
        return { stream: Readable.from(pieces()) };
      },
    });
    const answer = await client.get('/it').catch((error: unknown) => error as Error);
    assert.instance(failure, NoTransaction);
    assert.not.match(answer instanceof Error ? answer.message : answer.text, /never/);
    assert.equal(await stored(), [1]);
  });

  test('streams: buffer reads a stream within the transaction, and commits behind its end', async () => {
    const route = async (): Promise<Said> => {
      await insert(1);
      const rows = async function* (): AsyncGenerator<string> {
        for (let index = 2; index < 6; index++) {
          await insert(index);
          yield `${index};`;
        }
      };
      return { headers: { 'content-type': 'text/plain' }, stream: Readable.from(rows()) };
    };
    const answer = await ask(route, { streams: 'buffer' });
    assert.equal([answer.status, answer.text], [200, '2;3;4;5;']);
    assert.equal(await stored(), [1, 2, 3, 4, 5]);
  });

  test('streams: buffer aborts what a stream that fails has done, and answers with an error', async () => {
    const route = async (): Promise<Said> => {
      const rows = async function* (): AsyncGenerator<string> {
        await insert(1);
        yield 'begun';
        throw new Error('broken');
      };
      return { stream: Readable.from(rows()) };
    };
    const answer = await ask(route, { streams: 'buffer' }).catch((error: unknown) => error as Error);
    if (!(answer instanceof Error)) {
      assert.is(answer.status, 500);
      assert.not.match(answer.text, /begun/);
    }
    assert.equal(await stored(), []);
  });

  test('streams: buffer keeps maxBufferBytes at most: more is an error, and nothing is committed', async () => {
    const route = async (): Promise<Said> => {
      await insert(1);
      return { stream: Readable.from(['x'.repeat(600), 'y'.repeat(600)]) };
    };
    const answer = await ask(route, { streams: 'buffer', maxBufferBytes: 1000 });
    assert.is(answer.status, 500);
    assert.not.match(answer.text, /xxx/);
    assert.equal(await stored(), []);
  });

  test('an upgrade to another protocol is not touched', async () => {
    const client = await serve({ it: async () => ({ json: 1 }) });
    client.server.on('upgrade', (_request, socket) => {
      assert.is(transaction.current, undefined);
      socket.end('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello');
    });
    const socket = await client.socket();
    let received = '';
    socket.setEncoding('latin1').on('data', (chunk: string) => (received += chunk));
    socket.write('GET /it HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n');
    await once(socket, 'close');
    assert.match(received, /^HTTP\/1\.1 101 .*hello$/s);
  });

  test('an error that isn’t one still aborts', async () => {
    const answer = await ask(async () => {
      await insert(1);
      // oxlint-disable-next-line typescript/only-throw-error
      throw 'a text';
    }).catch((error: unknown) => error as Error);
    if (!(answer instanceof Error)) assert.ok(answer.status >= 500);
    assert.equal(await stored(), []);
  });

  test('pitfall 11: 200 requests at once over one repository: none sees another’s transaction, and the pool is whole afterwards', async () => {
    // One object for all requests, as a unit of work that is shared by mistake.
    const notes = {
      add: (id: number) => insert(id),
      async read(id: number): Promise<string[]> {
        const { rows } = await session.query<{ txn: string }>('select txn from notes where id in ($1, $2)', [
          id,
          id + REQUESTS,
        ]);
        return rows.map(({ txn }) => txn);
      },
    };
    const client = await serve({
      async it({ body, tm }) {
        const { id } = body as { id: number };
        await notes.add(id);
        for (let index = id % 7; index > 0; index--) await turn();
        if (id % 5 === 0) await session.query('select pg_sleep(0.001)');
        await notes.add(id + REQUESTS);
        const read = await notes.read(id);
        if (id % 10 === 0) throw new Error('every tenth is rolled back');
        return { json: { mine: transaction.get().id, tm: tm!.id, read } };
      },
    });
    const answers = await Promise.all(
      Array.from({ length: REQUESTS }, (_each, index) => client.post('/it', { id: index + 1 })),
    );
    const ids = new Set<string>();
    for (const [index, answer] of answers.entries()) {
      if ((index + 1) % 10 === 0) {
        assert.is(answer.status, 500);
        continue;
      }
      const { mine, tm, read } = JSON.parse(answer.text) as { mine: string; tm: string; read: string[] };
      assert.equal([tm, ...read], [mine, mine, mine], `request ${index + 1}`);
      ids.add(mine);
    }
    assert.is(ids.size, REQUESTS * 0.9);
    const { rows } = await db.admin.query<{ n: number; txns: number }>(
      'select count(*)::int n, count(distinct txn)::int txns from notes',
    );
    assert.equal(rows[0], { n: REQUESTS * 0.9 * 2, txns: REQUESTS * 0.9 });
  });

  return { db };
}

/** What the tests ask with. */
class Client {
  readonly server: Running['server'];
  readonly #port: number;

  constructor({ server, port }: Running) {
    this.server = server;
    this.#port = port;
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.ask('GET', path, headers);
  }

  post(path: string, body: unknown): Promise<Answer> {
    return this.ask('POST', path, { 'content-type': 'application/json' }, JSON.stringify(body));
  }

  ask(method: string, path: string, headers: Record<string, string> = {}, body?: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const request = httpRequest({ host: '127.0.0.1', port: this.#port, method, path, headers }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        response.on('error', reject);
        response.on('end', () => {
          const pairs = Object.entries(response.headersDistinct).flatMap(([name, values = []]) =>
            values.map((value): [string, string] => [name, value]),
          );
          resolve({ status: response.statusCode!, headers: new Headers(pairs), text });
        });
      });
      request.on('error', reject);
      request.end(body);
    });
  }

  async socket(): Promise<Socket> {
    const socket = connect(this.#port, '127.0.0.1');
    await once(socket, 'connect');
    socket.on('error', () => undefined);
    return socket;
  }
}
