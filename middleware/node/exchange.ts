/** A request and a response of node:http, whichever framework is on top of them, and their transaction. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Transaction } from '../../coordinator/transaction.ts';
import type { Settings } from '../options.ts';
import { type Answer, type Ending, RequestTransaction, takesPart } from '../request.ts';
import { Client } from './client.ts';
import { HeldResponse } from './held-response.ts';

/** Name of the response header that decides on the transaction. */
export const TM_HEADER = 'x-tm';

/** How a handler says that it has finished. Only the first word of an attempt counts. */
export interface Call {
  /** The response can be decided on; `answer` where it isn't node:http's that says it. */
  readonly finish: (answer?: Answer) => void;
  /** The handler has failed. */
  readonly fail: (thrown: unknown) => void;
  /** What the handler does from now on can't be done again. */
  readonly once: () => void;
}

/** What a framework calls the request and the response, and what they are underneath. */
export interface Sides<Q, S> {
  readonly request: Q;
  readonly response: S;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  /** Where it is asked for, without the query; default that of `req.url`. */
  readonly path?: string;
  /** Whether an attempt has left the body as it was; default as node:http sees it. */
  readonly mayRepeat?: () => boolean;
  /** Makes the framework's own response what it was before the first attempt. */
  readonly reset?: () => void;
}

export class Exchange<Q, S> {
  readonly transaction: RequestTransaction<Q, S>;
  readonly client: Client;
  readonly #sides: Sides<Q, S>;
  readonly #held: HeldResponse;
  #once = false;

  /** @throws What the hooks `manager` and `begin` throw. */
  constructor(settings: Settings<Q, S>, sides: Sides<Q, S>) {
    const { req, res, request } = sides;
    this.#sides = sides;
    const bodyIsThere = hasNoBody(req) || req.readableEnded;
    this.client = new Client(req, res);
    try {
      this.transaction = new RequestTransaction(settings, {
        request,
        response: () => sides.response,
        identity: req,
        method: req.method ?? 'GET',
        path: sides.path ?? pathOf(req),
        signal: this.client.signal,
        mayRepeat: () => !this.#once && (sides.mayRepeat?.() ?? (bodyIsThere || !req.readableDidRead)),
      });
    } catch (error) {
      this.client.stop();
      throw error;
    }
    this.#held = new HeldResponse(res, {
      streams: settings.streams,
      maxBufferBytes: settings.maxBufferBytes,
      hides: settings.exposeHeader ? undefined : TM_HEADER,
      isStale: () => this.transaction.isStale,
    });
    this.#bindBody(req);
  }

  /**
   * Calls `handler` in a transaction, decides when it has finished or its response begins, and lets that leave after the commit.
   *
   * @throws What the handler, the commit or the abort threw; nothing has left then, and the response is as it was before.
   */
  async run(handler: (txn: Transaction, call: Call) => unknown): Promise<Ending> {
    try {
      const ending = await this.transaction.perform((txn) => this.#call(txn, handler));
      this.#held.release();
      return ending;
    } catch (error) {
      this.#reset();
      throw error;
    } finally {
      this.client.stop();
    }
  }

  #call(txn: Transaction, handler: (txn: Transaction, call: Call) => unknown): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const finish = (answer: Answer = this.#answer()): void => resolve(answer);
      if (txn.attempt > 1) this.#reset();
      this.#held.hold({ ready: () => finish(), refused: reject });
      const once = (): void => {
        this.#once = true;
      };
      handler(txn, { finish, fail: reject, once });
    });
  }

  #reset(): void {
    this.#held.reset();
    this.#sides.reset?.();
  }

  #answer(): Answer {
    const { res } = this.#sides;
    const tm = res.getHeader(TM_HEADER);
    return { status: res.statusCode, tm: tm === undefined ? undefined : String(tm) };
  }

  /** Who reads the body does so in whichever context the connection has; the handler behind it belongs to the request's. */
  #bindBody(req: IncomingMessage): void {
    const emit = req.emit.bind(req);
    req.emit = (...args: Parameters<typeof emit>) => this.transaction.inside(() => emit(...args));
  }
}

function hasNoBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0;
}

/** The path that was asked for, without the query. */
export function pathOf(req: IncomingMessage): string {
  const url = (req as { originalUrl?: string }).originalUrl ?? req.url ?? '/';
  const query = url.indexOf('?');
  return query < 0 ? url : url.slice(0, query);
}

/** What a middleware over node:http does with a request. */
export interface Service {
  /** Goes on without a transaction: another middleware has begun one, or the request is to have none. */
  readonly pass: () => void;
  /** Calls the handler in the transaction; again where it is tried again. */
  readonly handle: (txn: Transaction, call: Call) => unknown;
  /** Makes the error's response. Isn't called when there is nobody to read it. */
  readonly fail: (thrown: unknown) => void;
}

/** Serves one request. Never rejects. */
export async function serve<Q, S>(settings: Settings<Q, S>, sides: Sides<Q, S>, service: Service): Promise<void> {
  let exchange: Exchange<Q, S> | undefined;
  try {
    if (takesPart(settings, sides.req) || (await settings.activate?.(sides.request)) === false) return service.pass();
    exchange = new Exchange(settings, sides);
    await exchange.run(service.handle);
  } catch (error) {
    if (exchange?.client.isGone !== true) service.fail(error);
  }
}
