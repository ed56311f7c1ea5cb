// The process of one contender on Redis.
import { serveSlices } from '../throughput/process.ts';
import { type ContenderName, makers } from './contenders.ts';

const [name, url] = process.argv.slice(2) as [ContenderName, string];
serveSlices(makers[name](url));
