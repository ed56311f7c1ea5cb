// unanimous/koa against Koa 3.
import { createServer } from 'node:http';
import Koa, { type Context } from 'koa';
import { TransientError } from 'unanimous';
import { type TransactionState, transactionPerRequest } from 'unanimous/koa';
import { assert, suite } from '../support/suite.ts';
import { behaves } from './behaviour.ts';
import { type Framework, listening, queryOf, readJson, routeOf } from './framework.ts';

const framework: Framework = {
  rawOf: (ctx: Context) => ctx.req,
  serve(routes, options, { forgives, again } = {}) {
    const app = new Koa<Partial<TransactionState>>();
    app.silent = true;
    if (forgives === true) {
      app.use(async (ctx, next) => {
        try {
          await next();
        } catch (error) {
          ctx.body = (error as Error).message;
          ctx.status = 200;
        }
      });
    }
    const parse = async (ctx: Context, next: () => Promise<unknown>): Promise<void> => {
      (ctx.request as { body?: unknown }).body = await readJson(ctx.req);
      await next();
    };
    const handle = async (ctx: Context): Promise<void> => {
      const {
        status = 200,
        headers = {},
        json,
        stream,
      } = await routeOf(routes, ctx.url)!({
        method: ctx.method,
        query: queryOf(ctx.url),
        body: (ctx.request as { body?: unknown }).body,
        tm: (ctx.state as Partial<TransactionState>).tm,
        raw: ctx,
        header: (name, value) => ctx.set(name, value),
      });
      ctx.set(headers);
      ctx.body = stream ?? (json === undefined ? null : JSON.stringify(json));
      ctx.status = status;
    };
    if (options.attempts === undefined) {
      app.use(transactionPerRequest(options));
      if (again !== undefined) app.use(transactionPerRequest(again));
      app.use(parse);
      app.use(handle);
    } else {
      app.use(parse);
      app.use(transactionPerRequest(handle, options));
    }
    return listening(createServer(app.callback()));
  },
};

const test = suite('unanimous/koa');
const { db } = await behaves(test, framework);

test('a response that goes around Koa commits before its first byte', async () => {
  const app = new Koa();
  app.use(transactionPerRequest());
  app.use(async (ctx) => {
    await db.session.query('insert into notes values (1)');
    ctx.respond = false;
    // Koa's own is 404 until something else is said.
    ctx.res.statusCode = 200;
    ctx.res.write('raw ');
    await assert.eventually(() => (ctx.state as TransactionState).tm.status === 'committed');
    ctx.res.end('answer');
  });
  const server = await listening(createServer(app.callback()));
  try {
    assert.is(await (await fetch(`http://127.0.0.1:${server.port}/`)).text(), 'raw answer');
  } finally {
    await server.close();
  }
  assert.is((await db.admin.query('select id from notes')).rowCount, 1);
});

test('a status that a failed attempt has set is no status of the next one', async () => {
  const app = new Koa();
  const handle = async (ctx: Context): Promise<void> => {
    if ((ctx.state as TransactionState).tm.attempt === 1) {
      ctx.status = 201;
      ctx.body = 'failed';
      throw new TransientError('again');
    }
    ctx.body = 'fine';
  };
  app.use(transactionPerRequest(handle, { attempts: 2, backoff: false }));
  const server = await listening(createServer(app.callback()));
  try {
    const response = await fetch(`http://127.0.0.1:${server.port}/`);
    assert.equal([response.status, await response.text()], [200, 'fine']);
  } finally {
    await server.close();
  }
});
