// What is measured on PostgreSQL and Redis.

/** `update`: UPDATE by key in PostgreSQL, and SET by key in Redis. */
export type Workload = 'update';

/** How many connections to PostgreSQL a contender may have. */
export const CONNECTIONS = 16;
