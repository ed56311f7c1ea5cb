// The process of one contender on PostgreSQL by a library.
import { serveSlices } from '../throughput/process.ts';
import { type ContenderName, makerOf } from './contenders.ts';

const [name, url] = process.argv.slice(2) as [ContenderName, string];
const make = await makerOf(name);
serveSlices(await make(url));
