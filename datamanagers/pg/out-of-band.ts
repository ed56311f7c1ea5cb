/** Connections beside the pool: for what must get through when the pool is exhausted or its connections are gone. */
import { outside } from '../../coordinator/context.ts';
import type { PgClient, PgClientClass, PgPool } from './driver.ts';

/** Opens a connection of its own as the pool would, calls `use` with it, and closes it. Bounded by `timeoutMs`. */
export async function callWithClient<T>(
  pool: PgPool,
  timeoutMs: number,
  use: (client: PgClient) => Promise<T>,
): Promise<T> {
  const { Client } = pool as PgPool & { Client: PgClientClass };
  // Outside of the caller's context: its errors and notices come for as long as the connection lives.
  const client = outside(() => new Client({ ...pool.options, ...secretsOf(pool), pipeline: false }));
  // Its death shows in the statement under way; an event without a listener would end the process.
  client.on('error', () => undefined);
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`the server did not answer within ${timeoutMs} ms`));
      client.connection.stream.destroy();
    }, timeoutMs);
  });
  try {
    const work = outside(() => client.connect()).then(() => use(client));
    return await Promise.race([work, tooLate]);
  } finally {
    clearTimeout(timer);
    void Promise.resolve(client.end()).catch(() => undefined);
  }
}

/** pg hides a pool's password from enumeration, so a copy of the options must name it. */
export function secretsOf(pool: PgPool): { password?: unknown; ssl?: unknown } {
  const options = pool.options as { password?: unknown; ssl?: unknown };
  return {
    ...(options.password === undefined ? {} : { password: options.password }),
    ...(options.ssl === undefined ? {} : { ssl: options.ssl }),
  };
}
