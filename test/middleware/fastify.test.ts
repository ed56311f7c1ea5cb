// unanimous/fastify against Fastify 5.
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { type Transaction, TransientError, transaction } from 'unanimous';
import { type FastifyOptions, transactionPerRequest } from 'unanimous/fastify';
import { assert, suite } from '../support/suite.ts';
import { behaves } from './behaviour.ts';
import { type Framework, queryOf, routeOf, running } from './framework.ts';

const framework: Framework = {
  rawOf: (request: FastifyRequest) => request.raw,
  async serve(routes, options, { forgives, again } = {}) {
    const app = Fastify({ forceCloseConnections: true });
    await app.register(transactionPerRequest, options);
    if (again !== undefined) await app.register(transactionPerRequest, again);
    if (forgives === true) {
      app.setErrorHandler((error: Error, _request, reply) => reply.code(200).send({ sorry: error.message }));
    }
    const handler = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
      const {
        status = 200,
        headers = {},
        json,
        stream,
      } = await routeOf(routes, request.url)!({
        method: request.method,
        query: queryOf(request.url),
        body: request.body,
        tm: request.tm,
        raw: { req: request.raw, res: reply.raw },
        header: (name, value) => void reply.header(name, value),
      });
      reply.code(status).headers(headers);
      if (stream !== undefined) return reply.send(stream);
      // Both ways in which a handler of Fastify answers.
      if (json === undefined) return reply.send();
      if (request.url.includes('send')) return reply.send(JSON.stringify(json));
      return JSON.stringify(json);
    };
    app.route({ method: ['GET', 'POST'], url: '/:name', handler });
    await app.listen({ port: 0, host: '127.0.0.1' });
    return running(app.server, () => app.close());
  },
};

const test = suite('unanimous/fastify');
const { db } = await behaves(test, framework);

/** An application whose requests are asked without a socket. */
async function application(options: FastifyOptions = {}): Promise<FastifyInstance> {
  const app = Fastify();
  await app.register(transactionPerRequest, options);
  return app;
}

test('encapsulation: a plugin that registers it has it for its own routes and those inside of it', async () => {
  const app = Fastify();
  const status = (request: FastifyRequest): string => request.tm?.status ?? 'none';
  await app.register(async (shop) => {
    await shop.register(transactionPerRequest);
    shop.get('/shop', async (request) => status(request));
    await shop.register(async (inner) => {
      inner.get('/shop/inner', async (request) => status(request));
    });
  });
  app.get('/other', async (request) => status(request));
  const answers = await Promise.all(['/shop', '/shop/inner', '/other'].map((url) => app.inject({ url })));
  assert.equal(
    answers.map(({ body }) => body),
    ['active', 'active', 'none'],
  );
});

test('hooks are in the transaction, from onRequest to onSend; those registered behind it, after the commit', async () => {
  const app = await application();
  const seen: string[] = [];
  const look = (hook: string, request: FastifyRequest): void => {
    const current = transaction.current;
    seen.push(`${hook} ${request.tm!.status}${current === undefined || current === request.tm ? '' : ' of another'}`);
  };
  app.addHook('onRequest', async (request) => look('onRequest', request));
  app.addHook('preHandler', async (request) => look('preHandler', request));
  app.addHook('preSerialization', async (request) => look('preSerialization', request));
  app.addHook('onSend', async (request) => look('onSend', request));
  app.post('/', async (request) => {
    look('handler', request);
    return { a: 1 };
  });
  await app.inject({ method: 'POST', url: '/', payload: { a: 1 } });
  assert.equal(seen, [
    'onRequest active',
    'preHandler active',
    'handler active',
    'preSerialization active',
    'onSend committed',
  ]);
});

test('a hook that throws or answers aborts by the same rules, and isn’t tried again', async () => {
  const app = await application({ attempts: 3, backoff: false });
  let calls = 0;
  app.addHook('preHandler', async (request, reply) => {
    calls++;
    await db.session.query('insert into notes values ($1)', [calls]);
    if (request.url === '/throws') throw new TransientError('again');
    if (request.url === '/refuses') return reply.code(401).send({ sorry: true });
    return undefined;
  });
  for (const url of ['/throws', '/refuses', '/fine']) app.get(url, async () => ({ fine: true }));
  const answers = await Promise.all(['/throws', '/refuses', '/fine'].map((url) => app.inject({ url })));
  assert.equal(
    answers.map(({ statusCode }) => statusCode),
    [500, 401, 200],
  );
  assert.is(calls, 3);
  assert.is((await db.admin.query('select id from notes')).rowCount, 1);
});

test('a reply that is hijacked commits before its first byte', async () => {
  const app = await application();
  app.get('/', async (request, reply) => {
    await db.session.query('insert into notes values (1)');
    reply.hijack();
    reply.raw.end(`raw ${request.tm!.status}`);
  });
  await app.listen({ port: 0, host: '127.0.0.1' });
  try {
    const { port } = app.server.address() as AddressInfo;
    assert.is(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'raw active');
  } finally {
    await app.close();
  }
  assert.is((await db.admin.query('select id from notes')).rowCount, 1);
});

test('handlers that call reply.send, now or later, are tried again as well', async () => {
  const app = await application({ attempts: 3, backoff: false });
  const send = (reply: FastifyReply, request: FastifyRequest): unknown =>
    reply
      .code(200 + request.tm!.attempt)
      .send(request.tm!.attempt < 2 ? new TransientError('again') : { attempt: request.tm!.attempt });
  app.get('/now', (request, reply) => {
    send(reply, request);
  });
  app.get('/later', (request, reply) => {
    setImmediate(() => send(reply, request));
  });
  app.get('/both', async (request, reply) => {
    send(reply, request);
    return reply;
  });
  for (const url of ['/now', '/later', '/both']) {
    const { statusCode, body } = await app.inject({ url });
    assert.equal([url, statusCode, body], [url, 202, '{"attempt":2}']);
  }
});

test('a stream that is kept is read within the transaction of the attempt, too', async () => {
  const app = await application({ attempts: 2, backoff: false, streams: 'buffer' });
  app.get('/', async (request) => {
    const { attempt } = request.tm!;
    const rows = async function* (): AsyncGenerator<string> {
      await db.session.query('insert into notes values ($1)', [attempt]);
      yield `attempt ${attempt}`;
      if (attempt === 1) throw new TransientError('again');
    };
    return Readable.from(rows());
  });
  assert.is((await app.inject('/')).body, 'attempt 2');
  assert.equal((await db.admin.query('select id from notes')).rows, [{ id: 2 }]);
});

test('Fastify’s own timeout for handlers aborts', async () => {
  const app = Fastify({ handlerTimeout: 100 });
  await app.register(transactionPerRequest);
  let seen: Transaction | undefined;
  app.get('/', async (request) => {
    seen = request.tm;
    await db.session.query('insert into notes values (1)');
    return new Promise(() => undefined);
  });
  assert.is((await app.inject('/')).statusCode, 503);
  await assert.eventually(() => seen!.status === 'aborted');
});

test('options that aren’t any keep the application from starting', async () => {
  const wrong = { comitVeto: false } as FastifyOptions;
  await assert.rejects(application(wrong), (error: unknown) =>
    /has no option 'comitVeto'/.test((error as Error).message),
  );
});
