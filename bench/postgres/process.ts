// The process of one contender of table 2: works in closed loops for as long as it is asked to.
import pg from 'pg';
import { serve } from '../serve.ts';
import { type ContenderName, type Once, makers } from './contenders.ts';
import { type SliceAnswer, type SliceRequest, randomId } from './workload.ts';

const [name, connectionString] = process.argv.slice(2) as [ContenderName, string];
const pool = new pg.Pool({ connectionString, max: 16, idleTimeoutMillis: 0 });
const contender = makers[name](pool);

async function slice({ workload, clients, unmeasuredMs, measuredMs }: SliceRequest): Promise<SliceAnswer> {
  const client = contender[workload]!;
  const latencies: number[] = [];
  let counting = false;
  let working = true;
  let before = process.cpuUsage();
  let start = 0;
  const loop = async (once: Once): Promise<void> => {
    while (working) {
      const begun = performance.now();
      await once(randomId());
      if (counting) latencies.push((performance.now() - begun) * 1000);
    }
  };
  const all = Promise.all(Array.from({ length: clients }, () => client(loop)));
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

serve({ slice });
