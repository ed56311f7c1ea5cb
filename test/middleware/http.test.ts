// unanimous/http against a server of node:http.
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import { transactionPerRequest, type TransactionalRequest } from 'unanimous/http';
import { suite } from '../support/suite.ts';
import { behaves } from './behaviour.ts';
import { type Framework, listening, queryOf, readJson, routeOf } from './framework.ts';

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
await behaves(test, framework);
