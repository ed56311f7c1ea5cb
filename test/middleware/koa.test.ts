// unanimous/koa against Koa 3.
import { createServer } from 'node:http';
import Koa, { type Context } from 'koa';
import { type TransactionState, transactionPerRequest } from 'unanimous/koa';
import { suite } from '../support/suite.ts';
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

await behaves(suite('unanimous/koa'), framework);
