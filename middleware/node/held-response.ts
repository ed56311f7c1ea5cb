/**
 * Keeps a response of node:http from leaving until the transaction that it is about has been decided on.
 *
 *   open       everything passes, as without this
 *   holding    status and headers are set as ever, and what would be sent is kept
 *   refusing   more was to be kept than may be: everything is dropped, until the error's response is made
 *
 * Whoever calls it sees what it would see of a response that has left: after `end()`, `headersSent` is true, and headers can't be set.
 */
import type { OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { TransactionStateError } from '../../coordinator/errors.ts';

type Callback = (error?: Error | null) => void;
type Piece = {
  readonly chunk: unknown;
  readonly encoding: BufferEncoding | undefined;
  readonly done: Callback | undefined;
};
/** The methods, with all of their overloads in one. */
type Method = (this: ServerResponse, ...args: unknown[]) => unknown;
type Methods = Record<string, Method>;

export interface HeldOptions {
  readonly streams: 'commit' | 'buffer';
  readonly maxBufferBytes: number;
  /** A header that isn't sent. */
  readonly hides: string | undefined;
  /** True where the calling code belongs to an attempt whose transaction is lost: what it says is dropped. */
  readonly isStale: () => boolean;
}

/** Status and headers as they are before the handler is called. */
interface Head {
  readonly status: number;
  readonly message: string;
  readonly headers: readonly (readonly [name: string, value: OutgoingHttpHeader])[];
}

/** What to do when the response can be decided on, or can't be kept. */
export interface HeldListener {
  readonly ready: () => void;
  readonly refused: (error: Error) => void;
}

const LOCKED = ['setHeader', 'appendHeader', 'setHeaders', 'removeHeader'] as const;

export class HeldResponse {
  readonly #res: ServerResponse;
  readonly #options: HeldOptions;
  readonly #original: Methods;
  #state: 'open' | 'holding' | 'refusing' = 'open';
  #listener: HeldListener | undefined = undefined;
  #before: Head | undefined = undefined;
  #pieces: Piece[] = [];
  #bytes = 0;
  #end: (Piece & { readonly status: number; readonly message: string }) | undefined = undefined;
  #flushes = false;
  #owesDrain = false;

  constructor(res: ServerResponse, options: HeldOptions) {
    this.#res = res;
    this.#options = options;
    const own = res as unknown as Methods;
    this.#original = Object.fromEntries(
      ['write', 'end', 'writeHead', 'flushHeaders', ...LOCKED].map((name) => [name, own[name]!]),
    );
    own['write'] = (...args) => this.#write(args);
    own['end'] = (...args) => this.#finish(args);
    own['writeHead'] = (...args) => this.#writeHead(args);
    own['flushHeaders'] = () => this.#flush();
    for (const name of LOCKED) own[name] = (...args) => this.#change(name, args);
    const prototype = Object.getPrototypeOf(res) as object;
    for (const name of ['headersSent', 'writableEnded'] as const) {
      Object.defineProperty(res, name, {
        configurable: true,
        enumerable: false,
        get: () => {
          if (this.#options.isStale()) return false;
          return this.#isLocked || (Reflect.get(prototype, name, res) as boolean);
        },
      });
    }
  }

  /** Starts to keep, from the state in which the response was the first time. */
  hold(listener: HeldListener): void {
    if (this.#before === undefined) this.#before = this.#look();
    else this.reset();
    this.#listener = listener;
    this.#state = 'holding';
  }

  /** Sends what was kept; everything passes from now on. */
  release(): void {
    const [pieces, end, flushes, owesDrain] = [this.#pieces, this.#end, this.#flushes, this.#owesDrain];
    this.#open();
    const send = this.#original;
    const res = this.#res;
    if (this.#options.hides !== undefined && !res.headersSent) send['removeHeader']!.call(res, this.#options.hides);
    // What is set behind the end comes too late, as it would without this.
    if (end !== undefined && !res.headersSent)
      Object.assign(res, { statusCode: end.status, statusMessage: end.message });
    if (flushes) send['flushHeaders']!.call(res);
    let isFull = false;
    for (const { chunk, encoding, done } of pieces) isFull = send['write']!.call(res, chunk, encoding, done) === false;
    if (end !== undefined) send['end']!.call(res, end.chunk, end.encoding, end.done);
    // Who was told to wait is told to go on; where the socket is full, Node does.
    else if (owesDrain && !isFull) process.nextTick(() => res.emit('drain'));
  }

  /** Drops what was kept and makes the response what it was before, for an error's or the next attempt's; everything passes. */
  reset(): void {
    this.#open();
    const before = this.#before;
    const res = this.#res;
    if (before === undefined || res.headersSent) return;
    res.statusCode = before.status;
    res.statusMessage = before.message;
    for (const name of res.getHeaderNames()) this.#original['removeHeader']!.call(res, name);
    for (const [name, value] of before.headers) this.#original['setHeader']!.call(res, name, value);
  }

  #open(): void {
    this.#state = 'open';
    this.#listener = undefined;
    this.#pieces = [];
    this.#bytes = 0;
    this.#end = undefined;
    this.#flushes = false;
    this.#owesDrain = false;
  }

  #look(): Head {
    const res = this.#res;
    // As they were written; Node's types have the method at requests only.
    const { getRawHeaderNames } = res as unknown as { getRawHeaderNames: () => string[] };
    const headers = getRawHeaderNames.call(res).map((name) => [name, res.getHeader(name)!] as const);
    return { status: res.statusCode, message: res.statusMessage, headers };
  }

  /** True when the handler has ended its response, which waits here. */
  get #isLocked(): boolean {
    return this.#state === 'holding' && this.#end !== undefined;
  }

  #write(args: unknown[]): unknown {
    if (this.#options.isStale()) return dropped(args);
    if (this.#state === 'open') return this.#original['write']!.apply(this.#res, args);
    if (this.#state === 'refusing') return false;
    const piece = pieceOf(args);
    if (this.#end !== undefined) {
      const error = coded(new Error('write after end'), 'ERR_STREAM_WRITE_AFTER_END');
      if (piece.done !== undefined) process.nextTick(piece.done, error);
      return false;
    }
    requireChunk(piece.chunk);
    this.#requireStatus();
    if (this.#options.streams === 'commit') {
      this.#pieces.push(piece);
      this.#owesDrain = true;
      this.#listener?.ready();
      return false;
    }
    if (!this.#keep(piece.chunk, piece.encoding)) return false;
    this.#pieces.push({ ...piece, done: undefined });
    if (piece.done !== undefined) process.nextTick(piece.done);
    return true;
  }

  #finish(args: unknown[]): unknown {
    if (this.#options.isStale()) {
      dropped(args);
      return this.#res;
    }
    if (this.#state === 'open') return this.#original['end']!.apply(this.#res, args);
    if (this.#state === 'refusing') return this.#res;
    const piece = pieceOf(args);
    if (this.#end !== undefined) {
      const error = coded(new Error('Cannot call end after a stream was finished'), 'ERR_STREAM_ALREADY_FINISHED');
      if (piece.done !== undefined) process.nextTick(piece.done, error);
      return this.#res;
    }
    if (piece.chunk !== undefined && piece.chunk !== null) requireChunk(piece.chunk);
    this.#requireStatus();
    if (this.#options.streams === 'buffer' && !this.#keep(piece.chunk, piece.encoding)) return this.#res;
    const { statusCode: status, statusMessage: message } = this.#res;
    this.#end = { ...piece, status, message };
    this.#listener?.ready();
    return this.#res;
  }

  #flush(): unknown {
    if (this.#options.isStale()) return undefined;
    if (this.#state === 'open') return this.#original['flushHeaders']!.call(this.#res);
    if (this.#state === 'refusing' || this.#isLocked) return undefined;
    this.#requireStatus();
    this.#flushes = true;
    if (this.#options.streams === 'commit') this.#listener?.ready();
    return undefined;
  }

  /** Node sends nothing here either, but keeps what it is given as text; here it is set, so that it can be taken back. */
  #writeHead(args: unknown[]): unknown {
    const res = this.#res;
    if (this.#options.isStale() || this.#state === 'refusing') return res;
    if (this.#state === 'open') return this.#original['writeHead']!.apply(res, args);
    if (this.#isLocked) throw headersSent('write');
    const [status, second, third] = args;
    const headers = (typeof second === 'string' ? third : second) as
      | OutgoingHttpHeaders
      | OutgoingHttpHeader[]
      | undefined;
    const code = Math.trunc(Number(status));
    requireStatus(code, status);
    res.statusCode = code;
    if (typeof second === 'string') res.statusMessage = second;
    if (Array.isArray(headers)) this.#setPairs(headers as string[]);
    else if (headers !== undefined && headers !== null) {
      for (const [name, value] of Object.entries(headers)) res.setHeader(name, value!);
    }
    return res;
  }

  #setPairs(pairs: readonly string[]): void {
    if (pairs.length % 2 !== 0) {
      throw coded(
        new TypeError(`The argument 'headers' is invalid: it must hold names and values`),
        'ERR_INVALID_ARG_VALUE',
      );
    }
    for (let index = 0; index < pairs.length; index += 2) this.#res.removeHeader(pairs[index]!);
    for (let index = 0; index < pairs.length; index += 2) this.#res.appendHeader(pairs[index]!, pairs[index + 1]!);
  }

  #change(name: (typeof LOCKED)[number], args: unknown[]): unknown {
    if (this.#options.isStale()) return this.#res;
    if (this.#isLocked) throw headersSent(name === 'removeHeader' ? 'remove' : 'set');
    return this.#original[name]!.apply(this.#res, args);
  }

  #keep(chunk: unknown, encoding: BufferEncoding | undefined): boolean {
    if (chunk === undefined || chunk === null) return true;
    this.#bytes += typeof chunk === 'string' ? Buffer.byteLength(chunk, encoding) : (chunk as Uint8Array).byteLength;
    if (this.#bytes <= this.#options.maxBufferBytes) return true;
    this.#state = 'refusing';
    this.#pieces = [];
    this.#listener?.refused(tooLarge(this.#options.maxBufferBytes));
    return false;
  }

  /** Node finds a wrong status when it sends, which would be too late to tell whoever has set it. */
  #requireStatus(): void {
    requireStatus(this.#res.statusCode, this.#res.statusCode);
  }
}

/** The error of a response that can't be kept until the transaction commits. */
export function tooLarge(maxBufferBytes: number): TransactionStateError {
  return new TransactionStateError(
    `a response that is kept until its transaction commits (streams: 'buffer') must have at most maxBufferBytes, ${maxBufferBytes}; ` +
      "this one has more, so nothing is committed: raise the limit, or send it after the commit (streams: 'commit')",
  );
}

function pieceOf([first, second, third]: readonly unknown[]): Piece {
  const chunk = typeof first === 'function' ? undefined : first;
  const encoding = typeof second === 'string' ? (second as BufferEncoding) : undefined;
  const done = [first, second, third].find((each) => typeof each === 'function') as Callback | undefined;
  return { chunk, encoding, done };
}

/** Who waits for it to be written goes on. */
function dropped(args: readonly unknown[]): true {
  const { done } = pieceOf(args);
  if (done !== undefined) process.nextTick(done);
  return true;
}

function requireChunk(chunk: unknown): void {
  if (typeof chunk === 'string' || chunk instanceof Uint8Array) return;
  throw coded(
    new TypeError(
      `The "chunk" argument must be of type string or an instance of Buffer or Uint8Array, not ${typeof chunk}`,
    ),
    'ERR_INVALID_ARG_TYPE',
  );
}

function requireStatus(status: number, given: unknown): void {
  if (Number.isInteger(status) && status >= 100 && status <= 999) return;
  throw coded(new RangeError(`Invalid status code: ${String(given)}`), 'ERR_HTTP_INVALID_STATUS_CODE');
}

function headersSent(what: string): Error {
  return coded(new Error(`Cannot ${what} headers after they are sent to the client`), 'ERR_HTTP_HEADERS_SENT');
}

/** The errors that Node itself throws, so that whoever expects them gets them. */
function coded(error: Error, code: string): Error {
  return Object.assign(error, { code });
}
