// unanimous/hono against Hono 4 on @hono/node-server.
import { createServer } from 'node:http';
import { type HttpBindings, getRequestListener } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { type ContentfulStatusCode } from 'hono/utils/http-status';
import { type TransactionVariables, transactionPerRequest } from 'unanimous/hono';
import { Readable } from 'node:stream';
import { suite } from '../support/suite.ts';
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

await behaves(suite('unanimous/hono'), framework);
