// unanimous/hono against Hono 4 on @hono/node-server.
import { createServer } from 'node:http';
import { type HttpBindings, getRequestListener } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { cors } from 'hono/cors';
import { HTTPException } from 'hono/http-exception';
import { type ContentfulStatusCode } from 'hono/utils/http-status';
import { type Transaction, TransientError } from 'unanimous';
import { type TransactionVariables, transactionPerRequest } from 'unanimous/hono';
import { Readable } from 'node:stream';
import { assert, suite } from '../support/suite.ts';
import { behaves } from './behaviour.ts';
import { type Framework, listening, queryOf, routeOf } from './framework.ts';

type E = { Bindings: HttpBindings; Variables: Partial<TransactionVariables> };

const framework: Framework = {
  rawOf: (c: Context<E>) => c.env.incoming,
  serve(routes, options, { forgives, again } = {}) {
    const app = new Hono<E>();
    app.onError((error, c) => c.text(forgives === true ? error.message : 'sorry', forgives === true ? 200 : 500));
    const handle = async (c: Context<E>): Promise<Response> => {
      const body: unknown = c.req.method === 'POST' ? await c.req.json() : undefined;
      const {
        status = 200,
        headers = {},
        json,
        stream,
      } = await routeOf(routes, c.req.url)!({
        method: c.req.method,
        query: queryOf(c.req.url),
        body,
        tm: c.var.tm,
        raw: { req: c.env.incoming, res: c.env.outgoing },
        header: (name, value) => c.header(name, value),
      });
      for (const [name, value] of Object.entries(headers)) c.header(name, value);
      c.status(status as ContentfulStatusCode);
      if (stream !== undefined) return c.body(Readable.toWeb(stream) as ReadableStream);
      return json === undefined ? c.body(null) : c.body(JSON.stringify(json));
    };
    if (options.attempts === undefined) {
      app.use(transactionPerRequest(options));
      if (again !== undefined) app.use(transactionPerRequest(again));
      app.all('/:name', handle);
    } else app.all('/:name', transactionPerRequest(handle, options));
    return listening(createServer(getRequestListener(app.fetch)));
  },
};

const test = suite('unanimous/hono');
const { db } = await behaves(test, framework);

test('what middleware outside of it has set stays, and what the handler has set goes, where the commit fails', async () => {
  const app = new Hono<E>();
  app.use(cors());
  app.use(async (c, next) => {
    c.header('x-outer', 'yes');
    await next();
  });
  app.use(transactionPerRequest());
  app.get('/', async (c) => {
    await db.session.query('insert into children values (9)');
    c.header('x-inner', 'yes');
    return c.json({ fine: true }, 201);
  });
  app.onError((_error, c) => c.text('sorry', 500));
  const response = await app.request('/', { headers: { origin: 'http://a' } });
  assert.equal([response.status, await response.text()], [500, 'sorry']);
  assert.equal(
    ['access-control-allow-origin', 'x-outer', 'x-inner'].map((name) => response.headers.get(name)),
    ['*', 'yes', null],
  );
});

test('without a socket, as app.request() asks in tests: the same, with the signal of the request', async () => {
  const app = new Hono<E>();
  let seen: Transaction | undefined;
  const controller = new AbortController();
  app.get(
    '/:name',
    transactionPerRequest(
      async (c: Context<E>) => {
        seen = c.var.tm;
        await db.session.query('insert into notes values (1)');
        if (c.req.param('name') === 'gone') controller.abort();
        if (c.req.param('name') === 'again' && seen!.attempt === 1) throw new TransientError('again');
        if (c.req.param('name') === 'http') throw new HTTPException(418, { message: 'teapot' });
        return c.json(c.req.param('name'));
      },
      { attempts: 2, backoff: false },
    ),
  );
  assert.is((await app.request('/http')).status, 418);
  assert.is((await app.request('/gone', { signal: controller.signal })).status, 499);
  assert.is(seen!.status, 'aborted');
  assert.equal((await db.admin.query('select id from notes')).rows, []);
  assert.is(await (await app.request('/again')).text(), '"again"');
  assert.is((await db.admin.query('select id from notes')).rowCount, 1);
});
