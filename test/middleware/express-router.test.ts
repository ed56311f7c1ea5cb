// unanimous/express around a router, below a path of the application.
import { createServer } from 'node:http';
import express, { type NextFunction, type Request, type Response } from 'express';
import { transactionPerRequest } from 'unanimous/express';
import { suite } from '../support/suite.ts';
import { behaves } from './behaviour.ts';
import { type Framework, listening, queryOf, routeOf } from './framework.ts';

process.env['NODE_ENV'] = 'test';

const forgive = (error: Error, _req: Request, res: Response, _next: NextFunction): void => {
  res.status(200).send(error.message);
};

const framework: Framework = {
  rawOf: (request: Request) => request,
  serve(routes, options, { forgives, again } = {}) {
    const router = express.Router();
    if (again !== undefined) router.use(transactionPerRequest(again));
    router.all('/:name', async (req: Request, res: Response) => {
      const {
        status = 200,
        headers = {},
        json,
        stream,
      } = await routeOf(routes, req.originalUrl)!({
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
    });
    const outer = express.Router();
    outer.use('/', router);
    const app = express();
    app.use(express.json());
    app.use('/', transactionPerRequest(outer, options));
    if (forgives === true) app.use(forgive);
    return listening(createServer(app));
  },
};

await behaves(suite('unanimous/express around a router'), framework);
