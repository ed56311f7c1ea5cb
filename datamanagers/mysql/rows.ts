/** Rows on their way to whoever reads them. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { PassThrough, type Readable } from 'node:stream';
import type { MysqlCommand } from './driver.ts';

/** Its events come in the context of whoever has made it, not in that of the socket. */
export class Rows extends PassThrough {
  readonly #inside: <R>(fn: () => R) => R = AsyncLocalStorage.snapshot();

  constructor(options: object = {}) {
    super({ ...options, objectMode: true });
  }

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    return this.#inside(() => super.emit(event as string, ...args));
  }
}

/** Pipes the rows of a command into `rows`. `onClosed` is told when nobody reads those any more; the rest is read and thrown away then. */
export function pourInto(rows: PassThrough, command: MysqlCommand, onClosed: () => void): void {
  const source: Readable = command.stream({ highWaterMark: rows.readableHighWaterMark });
  source.on('error', (error) => rows.destroy(error));
  source.pipe(rows);
  rows.once('close', () => {
    // Whether the driver does that for a stream that was destroyed depends on its version.
    source.unpipe(rows);
    command.removeAllListeners('result');
    source.resume();
    onClosed();
  });
}
