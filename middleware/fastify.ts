/** `unanimous/fastify`: a transaction for each request of Fastify 5. */
import type {
  FastifyInstance,
  FastifyPluginCallback,
  FastifyReply,
  FastifyRequest,
  RouteHandlerMethod,
  RouteOptions,
} from 'fastify';
import { toError } from '../coordinator/errors.ts';
import { isThenable } from '../coordinator/thenable.ts';
import type { Transaction } from '../coordinator/transaction.ts';
import { collect, isStream } from './node/collect.ts';
import { type Call, Exchange, TM_HEADER, pathOf } from './node/exchange.ts';
import { type RequestOptions, type Settings, settingsOf } from './options.ts';
import { type Answer, here, takesPart } from './request.ts';

export type { RequestOptions } from './options.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** The transaction of this request, or of this attempt at it; undefined where it has none. */
    tm?: Transaction | undefined;
  }
}

/** Options of {@link transactionPerRequest}. */
export type FastifyOptions = RequestOptions<FastifyRequest, FastifyReply>;

type FastifySettings = Settings<FastifyRequest, FastifyReply>;

/**
 * Plugin: each request of the instance that registers it, and of those inside of it, is one transaction, from its `onRequest` hook on. It is
 * committed in the `onSend` hook, before the first byte leaves; with more than one attempt, when the handler has finished.
 *
 * Register it before the routes.
 * @throws ConfigurationError for unknown or impossible options.
 */
export const transactionPerRequest: FastifyPluginCallback<FastifyOptions> = (app, options, done) => {
  let settings: FastifySettings;
  try {
    settings = settingsOf('transactionPerRequest', options);
  } catch (error) {
    return done(toError(error));
  }
  const served = new WeakMap<FastifyRequest, Serving>();
  if (!app.hasRequestDecorator('tm')) app.decorateRequest('tm', undefined);
  app.addHook('onRequest', (request, reply, goOn) => {
    void begin(settings, served, request, reply, goOn);
  });
  // The body may have been read in another context, which is the connection's.
  app.addHook('preValidation', (request, _reply, goOn) => {
    const serving = served.get(request);
    if (serving === undefined) goOn();
    else serving.exchange.transaction.inside(goOn);
  });
  // Called for every error, before the error handler.
  app.addHook('onError', (request, _reply, error, goOn) => {
    served.get(request)?.exchange.transaction.threw(error);
    goOn();
  });
  app.addHook('onSend', (request, reply, payload, goOn) => {
    const serving = served.get(request);
    if (serving === undefined) goOn(null, payload);
    else void serving.send(reply, payload, goOn);
  });
  if (settings.attempts > 1) {
    app.addHook('onRoute', (route: RouteOptions) => {
      route.handler = repeatable(served, route.handler);
    });
  }
  done();
};

// As fastify-plugin does: the hooks are for the instance that registers it, rather than for one of its own.
Object.assign(transactionPerRequest, {
  [Symbol.for('skip-override')]: true,
  [Symbol.for('fastify.display-name')]: 'unanimous',
  [Symbol.for('plugin-meta')]: { name: 'unanimous', fastify: '5.x' },
});

type Done = (error?: Error) => void;
type SendDone = (error?: Error | null, payload?: unknown) => void;

async function begin(
  settings: FastifySettings,
  served: WeakMap<FastifyRequest, Serving>,
  request: FastifyRequest,
  reply: FastifyReply,
  goOn: Done,
): Promise<void> {
  try {
    if (takesPart(settings, request.raw) || (await settings.activate?.(request)) === false) return goOn();
    const serving = new Serving(settings, request, reply);
    served.set(request, serving);
    serving.start(goOn);
  } catch (error) {
    goOn(toError(error));
  }
}

/** One request on its way through the hooks. */
class Serving {
  readonly exchange: Exchange<FastifyRequest, FastifyReply>;
  readonly #settings: FastifySettings;
  readonly #request: FastifyRequest;
  readonly #reply: FastifyReply;
  /** Outside of the transaction: where an error's response is made. */
  readonly #outside = here();
  readonly #before: Readonly<Record<string, unknown>>;
  #call: Call | undefined = undefined;
  /** The handler, where it may be called again. */
  #again: (() => void) | undefined = undefined;
  #ended: Promise<void> = Promise.resolve();
  #isSending = false;

  constructor(settings: FastifySettings, request: FastifyRequest, reply: FastifyReply) {
    this.#settings = settings;
    this.#request = request;
    this.#reply = reply;
    this.#before = { ...reply.getHeaders() };
    this.exchange = new Exchange(settings, {
      request,
      response: reply,
      req: request.raw,
      res: reply.raw,
      path: pathOf(request.raw),
      // Whoever has come as far as the handler has read the body, unless its parser hands over a stream.
      mayRepeat: () => this.#again !== undefined && !isStream(request.body),
      reset: () => this.#reset(),
    });
  }

  /** Begins, and goes on to the next hook inside of the transaction. */
  start(goOn: Done): void {
    let hasBegun = false;
    this.#ended = this.exchange
      .run((txn, call) => {
        this.#request.tm = txn;
        this.#call = call;
        if (hasBegun) return this.#again?.();
        hasBegun = true;
        goOn();
      })
      .then(() => undefined);
    this.#ended.catch((error: unknown) => {
      if (this.exchange.client.isGone || this.#isSending || this.#again !== undefined) return;
      // Its time is up, or it could not begin; whoever works on the response is ignored.
      if (!hasBegun) this.#outside.runInAsyncScope(() => goOn(toError(error)));
      else if (!this.#reply.sent) this.#outside.runInAsyncScope(() => this.#reply.send(toError(error)));
    });
  }

  /** A response is about to leave. */
  async send(reply: FastifyReply, payload: unknown, goOn: SendDone): Promise<void> {
    const { transaction } = this.exchange;
    // What the handler of a lost transaction has to say.
    if (transaction.isStale) return;
    if (transaction.isSettled) return goOn(null, payload);
    this.#isSending = true;
    let body = payload;
    try {
      if (this.#isKept(payload)) body = await this.#keep(payload);
      this.#call!.finish(this.#answer());
      await this.#ended;
    } catch (error) {
      if (!transaction.isSettled) this.#call!.fail(error);
      await this.#ended.catch(() => undefined);
      this.#outside.runInAsyncScope(() => goOn(toError(error)));
      return;
    }
    if (!this.#settings.exposeHeader) reply.removeHeader(TM_HEADER);
    transaction.inside(() => goOn(null, body));
  }

  /** Calls the handler until its transaction is committed, and sends what it wants to send. */
  repeat(handler: () => unknown): void {
    const { transaction } = this.exchange;
    const reply = this.#reply;
    let payload: unknown;
    this.#again = () => {
      const call = this.#call!;
      const work = async (): Promise<void> => {
        const captured = await capture(reply, handler);
        const kept = this.#isKept(captured) ? await this.#keep(captured) : captured;
        if (transaction.isStale) return;
        payload = kept;
        call.finish(this.#answer());
      };
      work().catch(call.fail);
    };
    // Neither must be sent from the context of an attempt that has failed.
    this.#ended.then(
      () => {
        if (!this.#settings.exposeHeader) reply.removeHeader(TM_HEADER);
        if (!reply.sent) transaction.inside(() => reply.send(payload));
      },
      (error: unknown) => {
        restore(reply);
        if (!this.exchange.client.isGone && !reply.sent)
          this.#outside.runInAsyncScope(() => reply.send(toError(error)));
      },
    );
    this.#again();
  }

  #isKept(payload: unknown): payload is AsyncIterable<Uint8Array> {
    return this.#settings.streams === 'buffer' && isStream(payload);
  }

  #keep(payload: AsyncIterable<Uint8Array>): Promise<Buffer> {
    this.#reply.removeHeader('transfer-encoding');
    return collect(payload, this.#settings.maxBufferBytes);
  }

  #answer(): Answer {
    const tm = this.#reply.getHeader(TM_HEADER);
    return { status: this.#reply.statusCode, tm: tm === undefined ? undefined : String(tm) };
  }

  #reset(): void {
    const reply = this.#reply;
    for (const name of Object.keys(reply.getHeaders())) reply.removeHeader(name);
    for (const [name, value] of Object.entries(this.#before)) reply.header(name, value);
    // Of which Fastify makes the error's, where there is one.
    reply.code(200);
  }
}

/** What a handler returns or sends, without its being sent. */
function capture(reply: FastifyReply, handler: () => unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const settle = (payload: unknown): void => (payload instanceof Error ? reject(payload) : resolve(payload));
    reply.send = (payload?: unknown) => {
      restore(reply);
      settle(payload);
      return reply;
    };
    const returned = async (): Promise<void> => {
      const result = handler();
      const payload: unknown = await result;
      // As in Fastify, a function that returns nothing sends it later, and a promise of nothing sends nothing.
      if (payload === reply || (payload === undefined && !isThenable(result))) return;
      restore(reply);
      settle(payload);
    };
    returned().catch((error: unknown) => {
      restore(reply);
      reject(toError(error));
    });
  });
}

/** Removes the object's own `send`, behind which is Fastify's. */
function restore(reply: FastifyReply): void {
  delete (reply as Partial<FastifyReply>).send;
}

function repeatable(served: WeakMap<FastifyRequest, Serving>, handler: RouteHandlerMethod): RouteHandlerMethod {
  return function (this: FastifyInstance, request, reply) {
    const serving = served.get(request);
    const call = (): unknown => handler.call(this, request, reply);
    return serving === undefined || serving.exchange.transaction.isSettled ? call() : serving.repeat(call);
  };
}
