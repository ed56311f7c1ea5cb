// The process of one contender on PostgreSQL.
import pg from 'pg';
import { serveSlices } from '../throughput/process.ts';
import { type ContenderName, makers } from './contenders.ts';

const [name, connectionString] = process.argv.slice(2) as [ContenderName, string];
serveSlices(makers[name](new pg.Pool({ connectionString, max: 16, idleTimeoutMillis: 0 })));
