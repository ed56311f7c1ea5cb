// What is measured on two databases.

/** `update`: UPDATE by key in each. */
export type Workload = 'update';

/** How many connections a contender may have to each. */
export const CONNECTIONS = 16;

/** Which kind of database an address is of. */
export function isMariadb(url: string): boolean {
  return url.startsWith('mysql:');
}
