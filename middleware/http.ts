/** `unanimous/http`: a transaction for each request of a server of node:http. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { toError } from '../coordinator/errors.ts';
import type { Rule } from '../coordinator/options.ts';
import { aFunction } from '../coordinator/options.ts';
import { emitWarning } from '../coordinator/report.ts';
import type { Transaction } from '../coordinator/transaction.ts';
import type { Awaitable } from '../coordinator/types.ts';
import { serve } from './node/exchange.ts';
import { type RequestOptions, settingsOf } from './options.ts';

export type { RequestOptions } from './options.ts';

/** A request with its transaction. */
export type TransactionalRequest = IncomingMessage & {
  /** The transaction of this request, or of this attempt at it; undefined where `activate` has said no. */
  tm?: Transaction | undefined;
};

/** Options of {@link transactionPerRequest}. */
export interface HttpOptions extends RequestOptions<TransactionalRequest, ServerResponse> {
  /**
   * Makes the response of a request that has failed: its handler, or its commit. Default: status 500, a line of text, and a process
   * warning with the error.
   */
  onError?: ((error: Error, request: TransactionalRequest, response: ServerResponse) => Awaitable<void>) | undefined;
}

const onErrorRule: Record<'onError', Rule> = { onError: aFunction };

/**
 * Wraps a request listener: whatever it does for a request is one transaction, which is committed before the response leaves.
 *
 * A listener that throws, or whose promise rejects, has failed; one that returns has finished when its response has begun or ended.
 * @throws ConfigurationError for unknown or impossible options.
 */
export function transactionPerRequest(
  handler: (request: TransactionalRequest, response: ServerResponse) => unknown,
  options: HttpOptions = {},
): (request: IncomingMessage, response: ServerResponse) => void {
  const settings = settingsOf('transactionPerRequest()', options, onErrorRule);
  const onError = options.onError ?? answerWithError;
  return (incoming, res) => {
    const req: TransactionalRequest = incoming;
    const call = async (): Promise<void> => {
      await handler(req, res);
    };
    const fail = (thrown: unknown): void => {
      respond(onError, toError(thrown), req, res).catch((failure: unknown) => {
        emitWarning(toError(failure));
        res.destroy();
      });
    };
    void serve(
      settings,
      { request: req, response: res, req, res },
      {
        pass: () => void call().catch(fail),
        handle: (txn, { fail: failed }) => {
          req.tm = txn;
          call().catch(failed);
        },
        fail,
      },
    );
  };
}

async function respond(
  onError: NonNullable<HttpOptions['onError']>,
  error: Error,
  req: TransactionalRequest,
  res: ServerResponse,
): Promise<void> {
  // What has begun to leave can't be taken back; that it is cut off is all that can be said.
  if (res.headersSent) throw error;
  await onError(error, req, res);
}

function answerWithError(error: Error, _request: IncomingMessage, res: ServerResponse): void {
  emitWarning(error);
  res.statusCode = 500;
  res.setHeader('content-type', 'text/plain; charset=utf-8');
  res.end('Internal Server Error\n');
}
