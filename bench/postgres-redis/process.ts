// The process of one contender on PostgreSQL and Redis.
import { serveSlices } from '../throughput/process.ts';
import { type ContenderName, makers } from './contenders.ts';

const [name, postgres, redis] = process.argv.slice(2) as [ContenderName, string, string];
serveSlices(makers[name](postgres, redis));
