/** Whether the client of a request is still there. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

// One listener for each connection, as requests that are pipelined over it are many.
const watchers = new WeakMap<Socket, Set<() => void>>();

/** Watches a request's connection until it is told to stop. */
export class Client {
  readonly #controller = new AbortController();
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse;
  readonly #leave = (): void => this.#gone();

  constructor(req: IncomingMessage, res: ServerResponse) {
    this.#req = req;
    this.#res = res;
    // A response that waits behind another one of its connection is told nothing when that is closed, so the socket is asked too.
    res.once('close', this.#leave);
    const { socket } = req;
    if (socket === undefined || socket === null) return;
    if (socket.destroyed) this.#gone();
    watchersOf(socket).add(this.#leave);
  }

  /** Aborted when the client goes away before its response was decided on. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get isGone(): boolean {
    return this.#controller.signal.aborted;
  }

  stop(): void {
    this.#res.off('close', this.#leave);
    const { socket } = this.#req;
    if (socket !== undefined && socket !== null) watchers.get(socket)?.delete(this.#leave);
  }

  #gone(): void {
    this.#controller.abort(new Error('the client closed its connection before the response was sent'));
  }
}

function watchersOf(socket: Socket): Set<() => void> {
  const known = watchers.get(socket);
  if (known !== undefined) return known;
  const callbacks = new Set<() => void>();
  watchers.set(socket, callbacks);
  socket.once('close', () => {
    for (const callback of callbacks) callback();
  });
  return callbacks;
}
