// The process of one contender on two databases.
import { serveSlices } from '../throughput/process.ts';
import { type ContenderName, makers } from './contenders.ts';

const [name, a, b] = process.argv.slice(2) as [ContenderName, string, string];
serveSlices(makers[name](a, b));
