// unanimous/fastify against Fastify 5.
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify';
import { transactionPerRequest } from 'unanimous/fastify';
import { suite } from '../support/suite.ts';
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

await behaves(suite('unanimous/fastify'), framework);
