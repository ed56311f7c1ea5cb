// What the process of a contender does: works in closed loops for as long as it is asked to.
import { serve } from '../serve.ts';
import { Flights } from './flights.ts';
import {
  type CountAnswer,
  type CountRequest,
  type Once,
  type SliceAnswer,
  type SliceRequest,
  type Way,
  randomId,
} from './slice.ts';

/** Answers what the controller asks for, by doing it `way`. */
export function serveSlices(way: Way<string>): void {
  serve({
    slice: (request: SliceRequest) => slice(way, request),
    count: (request: CountRequest) => count(way, request),
  });
}

async function slice(
  way: Way<string>,
  { workload, clients, unmeasuredMs, measuredMs }: SliceRequest,
): Promise<SliceAnswer> {
  const client = way[workload]!;
  const latencies: number[] = [];
  let counting = false;
  let working = true;
  let before = process.cpuUsage();
  let start = 0;
  const loopOf =
    (index: number) =>
    async (once: Once): Promise<void> => {
      while (working) {
        const begun = performance.now();
        await once(randomId(index, clients));
        if (counting) latencies.push((performance.now() - begun) * 1000);
      }
    };
  const all = Promise.all(Array.from({ length: clients }, (_, index) => client(loopOf(index))));
  // Rejections are awaited below; without this, one before would end the process.
  all.catch(() => (working = false));
  await new Promise((resolve) => setTimeout(resolve, unmeasuredMs));
  before = process.cpuUsage();
  start = performance.now();
  counting = true;
  await new Promise((resolve) => setTimeout(resolve, measuredMs));
  counting = false;
  const { user, system } = process.cpuUsage(before);
  const seconds = (performance.now() - start) / 1000;
  working = false;
  await all;
  return {
    rate: latencies.length / seconds,
    cpu: (user + system) / latencies.length,
    latencies: Float64Array.from(latencies),
  };
}

/** One client alone. The first transactions, which connect and prepare, count for the server but not for the sockets. */
async function count(way: Way<string>, { workload, first, transactions, ms }: CountRequest): Promise<CountAnswer> {
  const flights = new Flights();
  let done = 0;
  await way[workload]!(async (once) => {
    for (; done < first; done++) await once(randomId());
    flights.count = 0;
    const until = performance.now() + ms;
    for (; done < first + transactions && performance.now() < until; done++) await once(randomId());
  });
  return { transactions: done, flights: flights.count / (done - first) };
}
