/** `unanimous/koa`: a transaction for each request of Koa 3. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Transaction } from '../coordinator/transaction.ts';
import { collect, isStream } from './node/collect.ts';
import { Exchange } from './node/exchange.ts';
import { type RequestOptions, type Settings, refuseAttempts, settingsOf } from './options.ts';
import { takesPart } from './request.ts';

export type { RequestOptions } from './options.ts';

/** What `ctx.state` has in a request with a transaction: `new Koa<TransactionState>()`. */
export interface TransactionState {
  /** The transaction of this request, or of this attempt at it. */
  tm: Transaction;
}

/** What this middleware needs of Koa's context, so that no version of Koa's types has to be loaded. */
export interface KoaContext {
  /** The request of node:http. */
  readonly req: IncomingMessage;
  /** The response of node:http. */
  readonly res: ServerResponse;
  /** Where the transaction is put, as `tm`. */
  state: object;
  /** What is sent. */
  body: unknown;
  /** The status that is sent. */
  status: number;
}

/** Where Koa remembers that a status was set, so that a body doesn't set one. */
interface KoaResponse {
  _explicitStatus?: boolean | undefined;
}

/** Middleware of Koa. */
export type KoaMiddleware<C extends KoaContext> = (context: C, next: () => Promise<unknown>) => Promise<void>;

/** Options of {@link transactionPerRequest}; request and response are both Koa's context. */
export type KoaOptions<C extends KoaContext = KoaContext> = RequestOptions<C, C>;

/**
 * Middleware: everything behind it is one transaction, which is committed before Koa responds.
 * @throws ConfigurationError for unknown or impossible options, and for more than one attempt.
 */
export function transactionPerRequest<C extends KoaContext = KoaContext>(options?: KoaOptions<C>): KoaMiddleware<C>;
/** The same around one middleware, which is called again where the error is transient and `attempts` are left. */
export function transactionPerRequest<C extends KoaContext = KoaContext>(
  handler: (context: C, next: () => Promise<unknown>) => unknown,
  options?: KoaOptions<C>,
): KoaMiddleware<C>;
export function transactionPerRequest<C extends KoaContext = KoaContext>(
  first: ((context: C, next: () => Promise<unknown>) => unknown) | KoaOptions<C> = {},
  second: KoaOptions<C> = {},
): KoaMiddleware<C> {
  const where = 'transactionPerRequest()';
  if (typeof first === 'function') {
    const settings = settingsOf(where, second);
    return (ctx, next) => serve(settings, ctx, next, first);
  }
  const settings = settingsOf(where, first);
  refuseAttempts(where, settings, 'wrap the handler, transactionPerRequest(handler, { attempts })');
  return (ctx, next) => serve(settings, ctx, next, (_ctx, goOn) => goOn());
}

async function serve<C extends KoaContext>(
  settings: Settings<C, C>,
  ctx: C,
  next: () => Promise<unknown>,
  handler: (context: C, next: () => Promise<unknown>) => unknown,
): Promise<void> {
  const { req, res } = ctx;
  if (takesPart(settings, req) || (await settings.activate?.(ctx)) === false) {
    await handler(ctx, next);
    return;
  }
  const { body: bodyBefore, state, response } = ctx as C & { readonly response?: KoaResponse };
  const { _explicitStatus: isExplicit } = response ?? {};
  const reset = (): void => {
    // Koa's setter would set a status and remove headers; those are as they were before.
    const status = res.statusCode;
    ctx.body = bodyBefore;
    res.statusCode = status;
    // Else Koa would leave the next attempt's status to that one.
    if (response !== undefined) response._explicitStatus = isExplicit;
  };
  const exchange = new Exchange(settings, { request: ctx, response: ctx, req, res, reset });
  let handled: Promise<unknown> = Promise.resolve();
  try {
    await exchange.run((txn, { finish, fail, once }) => {
      Object.assign(state, { tm: txn });
      handled = (async () => {
        await handler(ctx, () => {
          once();
          return next();
        });
        if (settings.streams === 'buffer' && isStream(ctx.body)) {
          ctx.body = await collect(ctx.body, settings.maxBufferBytes);
        }
      })();
      handled.then(() => finish(), fail);
    });
  } catch (error) {
    // Nobody is there to read what would be said.
    if (exchange.client.isGone) return;
    throw error;
  }
  // A response that began before its handler has ended.
  await handled;
}
