/** A few connections beside the application's pool, which may be exhausted by those that wait for a decision. */
import { outside } from '../../coordinator/context.ts';
import { checkOut, listen } from './check-out.ts';
import { type PgPool, type PgResult, sqlState } from './driver.ts';
import { secretsOf } from './out-of-band.ts';

/** At most so many decisions are written at once. */
const CONNECTIONS = 4;

interface Pool extends PgPool {
  end(): Promise<void>;
  on(event: 'error', listener: () => void): unknown;
}

/** One of its connections. */
export interface PrivateClient {
  query<R>(text: string, values?: unknown[]): Promise<PgResult<R>>;
  /** Gives it back; closed, where a statement of it has failed otherwise than by the server's word. */
  release(): void;
}

export class PrivatePool {
  readonly #source: PgPool;
  readonly #timeoutMs: number;
  #pool: Pool | undefined = undefined;

  /** Made when it is first used. `timeoutMs` bounds the wait for a connection, and that for each answer. */
  constructor(source: PgPool, timeoutMs: number) {
    this.#source = source;
    this.#timeoutMs = timeoutMs;
  }

  #open(): Pool {
    if (this.#pool !== undefined) return this.#pool;
    const Pool = (this.#source as unknown as { constructor: new (options: object) => Pool }).constructor;
    const pool = outside(
      () =>
        new Pool({
          ...this.#source.options,
          ...secretsOf(this.#source),
          max: CONNECTIONS,
          min: 0,
          connectionTimeoutMillis: this.#timeoutMs,
          allowExitOnIdle: true,
        }),
    );
    // An idle connection that is lost is no news.
    pool.on('error', () => undefined);
    this.#pool = pool;
    return pool;
  }

  async connect(): Promise<PrivateClient> {
    const client = await outside(() => checkOut(this.#open()));
    let failure: Error | undefined;
    const onError = (error: Error): void => {
      failure ??= error;
    };
    listen(client, onError);
    return {
      query: async (text, values) => {
        try {
          return (await client.query({ text, values, query_timeout: this.#timeoutMs })) as PgResult<never>;
        } catch (error) {
          if (sqlState(error) === undefined) failure ??= error as Error;
          throw error;
        }
      },
      release: () => {
        client.release(failure);
        client.removeListener('error', onError);
      },
    };
  }

  async query<R>(text: string, values?: unknown[]): Promise<PgResult<R>> {
    const client = await this.connect();
    try {
      return await client.query<R>(text, values);
    } catch (error) {
      // Of several statements, one that fails leaves the transaction open.
      await client.query('rollback').catch(() => undefined);
      throw error;
    } finally {
      client.release();
    }
  }

  async end(): Promise<void> {
    const pool = this.#pool;
    this.#pool = undefined;
    await pool?.end();
  }
}
