/**
 * Taking a connection of a pool so that it always has a listener for its errors. The pool takes its own away when it hands the connection
 * over, and its promise is settled some ticks later; what the server has sent right behind its greeting, such as that it goes down, is
 * an event in between, and without a listener it would end the process.
 */
import type { PgClient, PgPool } from './driver.ts';

type Listener = (error: Error) => void;
type Callback = (error: Error | undefined, client: PgClient | undefined) => void;

/** What a connection has said since it was handed over, and who has heard it. */
interface Early {
  readonly listener: Listener;
  error: Error | undefined;
}

const early = new WeakMap<PgClient, Early>();

/** Takes a connection, for {@link listen} or {@link discard}, or for who makes something of it that listens. @throws what the pool does. */
export function checkOut(pool: PgPool): Promise<PgClient>;
export function checkOut<T>(pool: PgPool, use: (client: PgClient) => T): Promise<T>;
export function checkOut(pool: PgPool, use?: (client: PgClient) => unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const callback: Callback = (error, client) => {
      if (client === undefined) {
        reject(error!);
        return;
      }
      const heard: Early = { listener: (said) => (heard.error ??= said), error: undefined };
      early.set(client, heard);
      client.on('error', heard.listener);
      resolve(use === undefined ? client : use(client));
    };
    (pool as unknown as { connect(callback: Callback): void }).connect(callback);
  });
}

/** Has `listener` told of the errors of a connection that was checked out: also of those that it has had already. */
export function listen(client: PgClient, listener: Listener): void {
  client.on('error', listener);
  const heard = early.get(client)!;
  early.delete(client);
  client.removeListener('error', heard.listener);
  if (heard.error !== undefined) listener(heard.error);
}

/** Gives back a connection that nobody waits for any more. */
export function discard(client: PgClient): void {
  const heard = early.get(client)!;
  early.delete(client);
  // The pool listens again from now on.
  client.release(heard.error);
  client.removeListener('error', heard.listener);
}
