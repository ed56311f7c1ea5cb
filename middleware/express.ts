/** `unanimous/express`: a transaction for each request of Express 5. */
import type { ErrorRequestHandler, NextFunction, Request, RequestHandler, Response } from 'express';
import type { Transaction } from '../coordinator/transaction.ts';
import { type Call, serve } from './node/exchange.ts';
import { type RequestOptions, refuseAttempts, settingsOf } from './options.ts';
import { requestTransaction } from './request.ts';

export type { RequestOptions } from './options.ts';

type Current = Transaction | undefined;

declare global {
  // The way in which Express lets middleware add to its types.
  namespace Express {
    interface Request {
      /** The transaction of this request, or of this attempt at it; undefined where it has none. */
      tm?: Current;
    }
  }
}

/** Options of {@link transactionPerRequest}. */
export type ExpressOptions = RequestOptions<Request, Response>;

/**
 * Middleware: everything behind it is one transaction, which is committed before the response leaves.
 *
 * An error is known by the status of the page that is made of it; mount {@link abortOnError} where some pages have a status below 400.
 * @throws ConfigurationError for unknown or impossible options, and for more than one attempt.
 */
export function transactionPerRequest(options?: ExpressOptions): RequestHandler;
/**
 * The same around one handler or router, which is called again where the error is transient and `attempts` are left. What it throws
 * aborts, whatever page is made of it.
 */
export function transactionPerRequest(handler: RequestHandler, options?: ExpressOptions): RequestHandler;
export function transactionPerRequest(
  first: RequestHandler | ExpressOptions = {},
  second: ExpressOptions = {},
): RequestHandler {
  const where = 'transactionPerRequest()';
  if (typeof first === 'function') {
    const settings = settingsOf(where, second);
    return (req, res, next) => {
      void serve(
        settings,
        { request: req, response: res, req, res },
        {
          pass: () => call(first, req, res, next, next),
          handle: repeatable(first, req, res, next),
          fail: (thrown) => next(thrown),
        },
      );
    };
  }
  const settings = settingsOf(where, first);
  refuseAttempts(where, settings, 'wrap the handler or the router, transactionPerRequest(router, { attempts })');
  return (req, res, next) => {
    void serve(
      settings,
      { request: req, response: res, req, res },
      {
        pass: () => next(),
        handle: (txn) => {
          req.tm = txn;
          next();
        },
        fail: (thrown) => next(thrown),
      },
    );
  };
}

/** Calls a handler or router for each attempt, with the request as it was before the first. */
function repeatable(
  handler: RequestHandler,
  req: Request,
  res: Response,
  next: NextFunction,
): (txn: Transaction, call: Call) => void {
  // A router changes these while it is at work.
  const { url, baseUrl, params, route } = req as Request & { route: unknown };
  return (txn, { fail, once }) => {
    Object.assign(req, { url, baseUrl, params, route });
    req.tm = txn;
    call(handler, req, res, fail, (error?: unknown) => {
      const goesOn = error === undefined || error === null || error === 'route' || error === 'router';
      if (!goesOn) return fail(error);
      // What is behind it is in the transaction too, but can't be called again.
      once();
      next(error as undefined);
    });
  };
}

function call(
  handler: RequestHandler,
  req: Request,
  res: Response,
  fail: (thrown: unknown) => void,
  next: (error?: unknown) => void,
): void {
  try {
    const answer: unknown = handler(req, res, next as NextFunction);
    if (answer instanceof Promise) answer.catch((thrown: unknown) => fail(thrown ?? new Error('Rejected promise')));
  } catch (thrown) {
    fail(thrown);
  }
}

/**
 * Error middleware that makes sure of the abort, and passes the error on: mount it behind the routes and before your own error handlers.
 * It is needed where one of these answers with a status below 400, or `commitVeto` is `false`.
 */
export function abortOnError(): ErrorRequestHandler {
  return (error, req, _res, next) => {
    requestTransaction(req)?.threw(error);
    next(error);
  };
}
