// What a contender is made of.
import type { Way } from '../throughput/slice.ts';

/** `write`: SELECT by key, UPDATE by key. */
export type Workload = 'write';

export type Make = (url: string) => Way<Workload> | Promise<Way<Workload>>;
