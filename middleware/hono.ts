/** `unanimous/hono`: a transaction for each request of Hono 4, on Node.js. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Context, Env, Handler, MiddlewareHandler, Next } from 'hono';
import type { StatusCode } from 'hono/utils/http-status';
import type { Transaction } from '../coordinator/transaction.ts';
import { collect } from './node/collect.ts';
import { type Call, Exchange, TM_HEADER } from './node/exchange.ts';
import { type RequestOptions, type Settings, refuseAttempts, settingsOf } from './options.ts';
import { type Answer, RequestTransaction, takesPart } from './request.ts';

export type { RequestOptions } from './options.ts';

/** What `c.get()` and `c.var` have in a request with a transaction: `new Hono<{ Variables: TransactionVariables }>()`. */
export type TransactionVariables = {
  /** The transaction of this request, or of this attempt at it. */
  tm: Transaction;
};

/** Options of {@link transactionPerRequest}; the request is Hono's context, the response what is in its `res`. */
export type HonoOptions = RequestOptions<Context, Response>;

/**
 * Middleware: everything behind it is one transaction, which is committed before the response is handed to the server.
 * @throws ConfigurationError for unknown or impossible options, and for more than one attempt.
 */
export function transactionPerRequest(options?: HonoOptions): MiddlewareHandler;
/** The same around one handler, which is called again where the error is transient and `attempts` are left. */
export function transactionPerRequest<E extends Env>(handler: Handler<E>, options?: HonoOptions): MiddlewareHandler<E>;
export function transactionPerRequest(first: Handler | HonoOptions = {}, second: HonoOptions = {}): MiddlewareHandler {
  const where = 'transactionPerRequest()';
  if (typeof first === 'function') {
    const settings = settingsOf(where, second);
    return (c, next) => serve(settings, c, next, first);
  }
  const settings = settingsOf(where, first);
  refuseAttempts(where, settings, 'wrap the handler, transactionPerRequest(handler, { attempts })');
  return (c, next) => serve(settings, c, next, (_c, goOn) => goOn());
}

async function serve(
  settings: Settings<Context, Response>,
  c: Context,
  next: Next,
  handler: Handler,
): Promise<Response | void> {
  const { incoming, outgoing } = (c.env ?? {}) as Partial<NodeBindings>;
  const identity = incoming ?? c.req.raw;
  if (takesPart(settings, identity) || (await settings.activate?.(c)) === false) {
    return handler(c, next) as Promise<Response | void>;
  }
  const before = headersOf(c);
  const exchange =
    incoming === undefined || outgoing === undefined
      ? withoutSocket(settings, c)
      : overNode(settings, c, incoming, outgoing);
  let handled: Promise<void> = Promise.resolve();
  try {
    await exchange.run((txn, { finish, fail, once }) => {
      if (txn.attempt > 1) forget(c, before);
      c.set('tm', txn);
      const goOn = async (): Promise<void> => {
        once();
        await next();
        // Hono has made a response of it by now.
        if (c.error !== undefined) exchange.transaction.threw(c.error);
      };
      handled = (async () => {
        const answer = (await handler(c, goOn)) as Response | undefined;
        if (exchange.transaction.isStale) return;
        // As Hono does with what a handler returns; what is behind a middleware has set it by itself.
        if (answer !== undefined) c.res = answer;
        if (settings.streams === 'buffer' && c.res.body !== null) {
          const body = await collect(c.res.body as AsyncIterable<Uint8Array>, settings.maxBufferBytes);
          c.res = new Response(new Uint8Array(body), c.res);
        }
      })();
      handled.then(() => finish(answerOf(c)), fail);
    });
  } catch (error) {
    if (exchange.client.isGone) return new Response(null, { status: CLIENT_CLOSED_REQUEST });
    forget(c, before);
    throw error;
  }
  // A response of node:http that began before the handler has ended.
  await handled;
  if (!settings.exposeHeader && c.res.headers.has(TM_HEADER)) c.header(TM_HEADER, undefined);
  return undefined;
}

/** nginx's status for it; nobody reads it. */
const CLIENT_CLOSED_REQUEST = 499;

/** What @hono/node-server hands over. */
interface NodeBindings {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
}

interface HonoExchange {
  readonly transaction: RequestTransaction<Context, Response>;
  readonly client: { readonly isGone: boolean };
  run(handler: (txn: Transaction, call: Call) => void): Promise<unknown>;
}

function overNode(
  settings: Settings<Context, Response>,
  c: Context,
  req: IncomingMessage,
  res: ServerResponse,
): HonoExchange {
  return new Exchange(settings, {
    request: c,
    get response() {
      return c.res;
    },
    req,
    res,
    path: c.req.path,
    mayRepeat: () => bodyIsKept(c),
  });
}

/** A request without a connection, as those of `app.request()` in tests. */
function withoutSocket(settings: Settings<Context, Response>, c: Context): HonoExchange {
  const { raw } = c.req;
  let isOnce = false;
  const transaction = new RequestTransaction(settings, {
    request: c,
    response: () => c.res,
    identity: raw,
    method: c.req.method,
    path: c.req.path,
    signal: raw.signal,
    mayRepeat: () => !isOnce && bodyIsKept(c),
  });
  const once = (): void => {
    isOnce = true;
  };
  return {
    transaction,
    client: {
      get isGone(): boolean {
        return raw.signal.aborted;
      },
    },
    run: (handler) =>
      transaction.perform(
        (txn) =>
          new Promise((resolve, reject) => {
            handler(txn, { finish: (answer = answerOf(c)) => resolve(answer), fail: reject, once });
          }),
      ),
  };
}

/** Hono keeps a body that was read through it, so that it can be read again. */
function bodyIsKept(c: Context): boolean {
  return !c.req.raw.bodyUsed || Object.keys(c.req.bodyCache).length > 0;
}

function answerOf(c: Context): Answer {
  return { status: c.res.status, tm: c.res.headers.get(TM_HEADER) ?? undefined };
}

type Headers = readonly (readonly [name: string, value: string])[];

/** The headers that the middleware outside of this one has set. */
function headersOf(c: Context): Headers {
  const headers = [...c.res.headers];
  // To ask for the response was to make one.
  if (headers.length === 0) unset(c);
  return headers;
}

/** Makes the response what it was before the handler, for an error's or the next attempt's. */
function forget(c: Context, before: Headers): void {
  const names = [...c.res.headers.keys()];
  unset(c);
  for (const name of names) c.header(name, undefined);
  c.status(undefined as unknown as StatusCode);
  for (const [name, value] of before) c.header(name, value, { append: name === 'set-cookie' });
}

/** Without this, Hono would take the headers of a response along into the one that replaces it. */
function unset(c: Context): void {
  c.res = undefined;
  c.finalized = false;
}
