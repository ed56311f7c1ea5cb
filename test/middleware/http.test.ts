// unanimous/http against a server of node:http.
import { once } from 'node:events';
import { type IncomingMessage, type ServerResponse, createServer, get } from 'node:http';
import { TransactionClosed, TransientError } from 'unanimous';
import { type HttpOptions, type TransactionalRequest, transactionPerRequest } from 'unanimous/http';
import { assert, suite } from '../support/suite.ts';
import { behaves } from './behaviour.ts';
import { type Framework, type Running, listening, queryOf, readJson, routeOf } from './framework.ts';

// What a failed request is warned of is not this file's subject.
process.removeAllListeners('warning');

const framework: Framework = {
  rawOf: (request: IncomingMessage) => request,
  serve(routes, options, { forgives, again } = {}) {
    const bodies = new WeakMap<IncomingMessage, unknown>();
    const handle = async (req: TransactionalRequest, res: ServerResponse): Promise<void> => {
      const said = await routeOf(routes, req.url!)!({
        method: req.method!,
        query: queryOf(req.url!),
        body: bodies.has(req) ? bodies.get(req) : await readJson(req),
        tm: req.tm,
        raw: { req, res },
        header: (name, value) => void res.setHeader(name, value),
      });
      res.writeHead(said.status ?? 200, said.headers);
      if (said.stream !== undefined) {
        // As stream.pipe does not, an error ends the response.
        said.stream.once('error', () => res.destroy());
        said.stream.pipe(res);
      } else if (said.json === undefined) res.end();
      else res.end(JSON.stringify(said.json));
    };
    const inner = again === undefined ? handle : transactionPerRequest(handle, again);
    const listener = transactionPerRequest(inner, {
      ...options,
      ...(forgives === true && {
        onError: (error: Error, _req: IncomingMessage, res: ServerResponse) => void res.end(error.message),
      }),
    });
    const server = createServer((req, res) => {
      // A body is read before the transaction begins where it is to be tried again, as a parser in front of it would.
      if (options.attempts === undefined) return listener(req, res);
      void readJson(req).then((body) => {
        bodies.set(req, body);
        listener(req, res);
      });
    });
    return listening(server);
  },
};

const test = suite('unanimous/http');
const { db } = await behaves(test, framework);

/** Serves one listener, and returns its address. */
async function serve(
  handler: (req: TransactionalRequest, res: ServerResponse) => unknown,
  options: HttpOptions = {},
): Promise<string> {
  const server = await listening(createServer(transactionPerRequest(handler, options)));
  opened.push(server);
  return `http://127.0.0.1:${server.port}/`;
}
const opened: Running[] = [];
test.after.each(async () => {
  for (const each of opened.splice(0)) await each.close();
});

test('whoever writes first has committed: what it does afterwards has no transaction', async () => {
  let failure: unknown;
  const url = await serve(async ({ tm }, res) => {
    await db.session.query('insert into notes values (1)');
    res.write('begun;');
    await assert.eventually(() => tm!.status === 'committed');
    failure = await db.session.query('insert into notes values (2)').catch((error: unknown) => error);
    res.end('ended');
  });
  assert.is(await (await fetch(url)).text(), 'begun;ended');
  assert.instance(failure, TransactionClosed);
  assert.equal((await db.admin.query('select id from notes')).rows, [{ id: 1 }]);
});

test('who waits for the response to drain is told to go on', async () => {
  const url = await serve(async (_req, res) => {
    for (let index = 0; index < 200; index++) {
      if (!res.write('x'.repeat(10_000))) await once(res, 'drain');
    }
    res.end();
  });
  assert.is((await (await fetch(url)).text()).length, 2_000_000);
});

test('a response that waits for its commit looks as one that has left', async () => {
  const seen: unknown[] = [];
  const url = await serve((_req, res) => {
    res.writeHead(201, 'Made', ['x-one', '1', 'X-Two', '2', 'x-two', '3']);
    seen.push(res.headersSent, res.writableEnded);
    res.end('first');
    seen.push(res.headersSent, res.writableEnded);
    for (const late of [
      () => res.setHeader('x-late', '1'),
      () => res.removeHeader('x-one'),
      () => res.writeHead(500),
    ]) {
      try {
        late();
      } catch (error) {
        seen.push((error as { code: string }).code);
      }
    }
    res.end('second');
    res.statusCode = 404;
  });
  const response = await fetch(url);
  assert.equal([response.status, response.statusText, await response.text()], [201, 'Made', 'first']);
  assert.equal([response.headers.get('x-one'), response.headers.get('x-two')], ['1', '2, 3']);
  assert.equal(seen, [false, false, true, true, ...Array.from({ length: 3 }, () => 'ERR_HTTP_HEADERS_SENT')]);
});

test('what Node would refuse to send is refused where it is said, and rolls back', async () => {
  const wrong: ((res: ServerResponse) => unknown)[] = [
    (res) => res.writeHead(99),
    (res) => {
      res.statusCode = 1000;
      res.end();
    },
    (res) => res.end(5 as unknown as string),
    (res) => res.setHeader('x', 'a\nb'),
    (res) => res.writeHead(200, ['odd']),
  ];
  for (const say of wrong) {
    const url = await serve(async (_req, res) => {
      await db.session.query('insert into notes values (1)');
      say(res);
    });
    assert.is((await fetch(url)).status, 500, String(say));
  }
  assert.equal((await db.admin.query('select id from notes')).rows, []);
});

test('a body that the handler has read can’t be read again, so it isn’t tried again; one that it left alone is', async () => {
  let calls = 0;
  const reads = await serve(
    async (req) => {
      calls++;
      await readJson(req);
      throw new TransientError('again');
    },
    { attempts: 3, backoff: false },
  );
  assert.is((await fetch(reads, { method: 'POST', body: '{}' })).status, 500);
  assert.is(calls, 1);
  const leaves = await serve(
    async (req, res) => {
      if (++calls < 3) throw new TransientError('again');
      res.end(JSON.stringify(await readJson(req)));
    },
    { attempts: 3, backoff: false },
  );
  assert.is(await (await fetch(leaves, { method: 'POST', body: '{"a":1}' })).text(), '{"a":1}');
});

test('onError makes the page; one that fails itself leaves the client with a closed connection', async () => {
  const fail = (): never => {
    throw new Error('no');
  };
  const told = await serve(fail, { onError: (error, _req, res) => void res.writeHead(503).end(error.message) });
  const response = await fetch(told);
  assert.equal([response.status, await response.text()], [503, 'no']);
  const broken = await serve(fail, { onError: fail });
  await assert.rejects(fetch(broken));
});

test('1xx answers and trailers pass', async () => {
  const url = new URL(
    await serve((_req, res) => {
      res.writeEarlyHints({ link: '</style.css>; rel=preload' });
      res.setHeader('trailer', 'x-sum');
      res.write('body');
      res.addTrailers({ 'x-sum': '4' });
      res.end();
    }),
  );
  const request = get(url);
  const hints = once(request, 'information');
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  await once(response.resume(), 'end');
  assert.is(((await hints) as [{ statusCode: number }])[0].statusCode, 103);
  assert.equal(response.trailers, { 'x-sum': '4' });
});
