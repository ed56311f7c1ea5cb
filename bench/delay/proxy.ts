// The same servers, farther away.
import { join } from 'node:path';
import { Contender } from '../contender.ts';
import { type Spread, spreadOf } from '../statistics.ts';

/** How much longer round trips were in fact, in milliseconds, since it was asked last. */
export type TookMs = () => Promise<Spread>;

/** Addresses by which every round trip takes `delayMs` longer, for as long as `work` takes. */
export async function withDelay<T>(
  urls: readonly string[],
  folder: string,
  delayMs: number,
  work: (urls: readonly string[], took: TookMs) => Promise<T>,
): Promise<T> {
  const parsed = urls.map((url) => new URL(url));
  const proxy = await Contender.start('the delay', join(folder, 'bench', 'delay', 'process.js'), [
    String(delayMs),
    ...parsed.map(({ port }) => port),
  ]);
  try {
    const ports = await proxy.ask<number[]>('ports');
    for (const [index, url] of parsed.entries()) url.port = String(ports[index]);
    return await work(
      parsed.map(({ href }) => href),
      async () => spreadOf(await proxy.ask<number[]>('times')),
    );
  } finally {
    await proxy.stop();
  }
}
