// What is measured on Redis.

/** `watch`: WATCH, GET and SET of a key. `blind`: two SETs. */
export type Workload = 'watch' | 'blind';

/** How many clients there are at most, and so connections that watch. */
export const CONNECTIONS = 16;

export function accountKey(id: number): string {
  return `account:${id}`;
}

export function entryKey(id: number): string {
  return `entry:${id}`;
}
