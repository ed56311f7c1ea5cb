// unanimous/express against Express 5: as middleware in front of the routes.
import { createServer } from 'node:http';
import express, { type NextFunction, type Request, type Response } from 'express';
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
await behaves(test, framework);

test('middleware can’t call what is behind it again, and says so', () => {
  assert.throws(
    () => transactionPerRequest({ attempts: 2 }),
    (error: Error) => /wrap the handler or the router/.test(error.message),
  );
});
