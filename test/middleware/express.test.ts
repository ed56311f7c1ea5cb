// unanimous/express against Express 5: as middleware in front of the routes.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import express, { type NextFunction, type Request, type RequestHandler, type Response } from 'express';
import { TransientError, transaction } from 'unanimous';
import { abortOnError, transactionPerRequest } from 'unanimous/express';
import { assert, suite } from '../support/suite.ts';
import { behaves } from './behaviour.ts';
import { type Framework, type Routes, listening, queryOf, routeOf } from './framework.ts';

// Express prints the errors of requests unless it is told that this is a test.
process.env['NODE_ENV'] = 'test';

function handlerOf(routes: Routes) {
  return async (req: Request, res: Response, next: NextFunction): Promise<void> => {
    const route = routeOf(routes, req.originalUrl);
    if (route === undefined) return next();
    const {
      status = 200,
      headers = {},
      json,
      stream,
    } = await route({
      method: req.method,
      query: queryOf(req.originalUrl),
      body: req.body,
      tm: req.tm,
      raw: { req, res },
      header: (name, value) => void res.set(name, value),
    });
    res.status(status).set(headers);
    if (stream !== undefined) {
      stream.once('error', () => res.destroy());
      stream.pipe(res);
    } else if (json === undefined) res.end();
    else res.json(json);
  };
}

const forgive = (error: Error, _req: Request, res: Response, _next: NextFunction): void => {
  res.status(200).send(error.message);
};

const framework: Framework = {
  rawOf: (request: Request) => request,
  serve(routes, options, { forgives, again } = {}) {
    const app = express();
    if (options.attempts === undefined) {
      app.use(transactionPerRequest(options));
      // Behind the transaction, whose context it has to keep.
      app.use(express.json());
      if (again !== undefined) app.use(transactionPerRequest(again));
      app.use(handlerOf(routes));
      app.use(abortOnError());
    } else {
      app.use(express.json());
      const router = express.Router();
      router.use(handlerOf(routes));
      app.use('/', transactionPerRequest(router, options));
    }
    if (forgives === true) app.use(forgive);
    return listening(createServer(app));
  },
};

const test = suite('unanimous/express');
const { db } = await behaves(test, framework);

test('middleware can’t call what is behind it again, and says so', () => {
  assert.throws(
    () => transactionPerRequest({ attempts: 2 }),
    (error: Error) => /wrap the handler or the router/.test(error.message),
  );
});

test('res.sendFile, a fresh copy and a redirect are sent behind the commit', async () => {
  const app = express();
  app.use(transactionPerRequest());
  app.get('/file', async (_req, res) => {
    await db.session.query('insert into notes values (1)');
    res.sendFile(import.meta.filename);
  });
  app.get('/away', async (_req, res) => {
    await db.session.query('insert into notes values (2)');
    res.redirect('/file');
  });
  const server = await listening(createServer(app));
  const url = `http://127.0.0.1:${server.port}`;
  try {
    const first = await fetch(`${url}/file`);
    assert.is(await first.text(), readFileSync(import.meta.filename, 'utf8'));
    await db.admin.query('delete from notes');
    const fresh = await fetch(`${url}/file`, {
      headers: { 'if-none-match': first.headers.get('etag')!, 'cache-control': 'max-age=0' },
    });
    assert.equal([fresh.status, await fresh.text()], [304, '']);
    assert.is((await fetch(`${url}/away`, { redirect: 'manual' })).status, 302);
  } finally {
    await server.close();
  }
  assert.equal((await db.admin.query('select id from notes order by id')).rows, [{ id: 1 }, { id: 2 }]);
});

test('a wrapped handler that passes on is followed by what is behind it, in its transaction, once', async () => {
  const app = express();
  const seen: (string | undefined)[] = [];
  const wrapped = transactionPerRequest(
    (req, _res, next) => {
      seen.push(req.tm?.id);
      next();
    },
    { attempts: 3, backoff: false },
  );
  app.get('/', wrapped, async (req) => {
    seen.push(req.tm?.id);
    await db.session.query('insert into notes values (1)');
    throw new TransientError('again');
  });
  app.use(abortOnError());
  const server = await listening(createServer(app));
  try {
    assert.is((await fetch(`http://127.0.0.1:${server.port}/`)).status, 500);
    assert.is((await fetch(`http://127.0.0.1:${server.port}/nowhere`)).status, 404);
  } finally {
    await server.close();
  }
  assert.is(seen.length, 2);
  assert.is(seen[0], seen[1]);
  assert.equal((await db.admin.query('select id from notes')).rows, []);
});

test('whoever reads the body by its events does so in the transaction', async () => {
  const app = express();
  app.use(transactionPerRequest());
  app.post('/', (req, res) => {
    const seen: boolean[] = [];
    req.on('data', () => seen.push(transaction.current === req.tm));
    req.on('end', () => res.json([...seen, transaction.current === req.tm]));
  });
  const server = await listening(createServer(app));
  try {
    const response = await fetch(`http://127.0.0.1:${server.port}/`, { method: 'POST', body: 'a body' });
    assert.equal(await response.json(), [true, true]);
  } finally {
    await server.close();
  }
});

test('middleware that wraps the end and the head of a response works in front of it and behind it', async () => {
  const order: string[] = [];
  // As session stores do, which save before they let the response end, and whatever sets headers at the last moment.
  const wrapping =
    (name: string): RequestHandler =>
    (_req, res, next) => {
      const end = res.end.bind(res);
      const writeHead = res.writeHead.bind(res);
      res.end = ((...args: Parameters<typeof end>) => {
        order.push(`${name} saves`);
        setImmediate(() => end(...args));
        return res;
      }) as typeof res.end;
      res.writeHead = ((...args: Parameters<typeof writeHead>) => {
        res.setHeader(`x-${name}`, 'yes');
        return writeHead(...args);
      }) as typeof res.writeHead;
      next();
    };
  const app = express();
  app.use(wrapping('outer'), transactionPerRequest(), wrapping('inner'));
  app.get('/', async (req, res) => {
    await db.session.query('insert into notes values (1)');
    req.tm!.addAfterCommitHook(() => void order.push('committed'));
    res.json({ fine: true });
  });
  const server = await listening(createServer(app));
  try {
    const response = await fetch(`http://127.0.0.1:${server.port}/`);
    assert.equal(await response.json(), { fine: true });
    assert.equal([response.headers.get('x-inner'), response.headers.get('x-outer')], ['yes', 'yes']);
  } finally {
    await server.close();
  }
  assert.equal(order, ['inner saves', 'committed', 'outer saves']);
});
