// The kinds of anomalies that a history can show, and which of them must not be at which level of isolation.
//
// The names of the cycles are Adya's (Weak Consistency, 1999), as Elle uses them: ww is "wrote behind", wr "read what it wrote", rw "read
// the list without what it wrote".
import type { DatabaseName } from './history.ts';

export const KINDS = {
  lost: 'an append that was acknowledged isn’t in the list',
  duplicate: 'a value is in a list more than once',
  invented: 'a value is in a list of which nobody has asked for that',
  aborted: 'a value of an aborted attempt was read, or is there (G1a)',
  intermediate: 'one of several values was read that an attempt has appended to one list (G1b)',
  order: 'two orders of one list, of which neither begins with the other',
  internal: 'an attempt doesn’t find its own appends, or finds what it is yet to append',
  stale: 'an append was not seen by who began after it was acknowledged',
  half: 'some appends of an attempt are there in the end, and others aren’t',
  G0: 'a cycle of appends (ww)',
  G1c: 'a cycle of appends and reads of them (ww, wr)',
  'G-single': 'a cycle with one read of what was before an append (rw): a skewed read, or a lost update',
  'G-nonadjacent': 'a cycle with several rw, of which none follows another',
  'G2-item': 'a cycle with rw that follows rw: a skewed write',
} as const;

export type Kind = keyof typeof KINDS;

export interface Anomaly {
  readonly kind: Kind;
  /** Where it is seen; absent where it takes both databases to see it. */
  readonly database?: DatabaseName;
  /** What shows it, for people. */
  readonly what: string;
  /** How many attempts are part of it. */
  readonly attempts: number;
}

/**
 * What a database promises. `snapshot` is what PostgreSQL calls repeatable read. `weak repeatable read` is what InnoDB calls so: plain reads
 * are of one snapshot, but an append goes behind what others have committed since, and is read back with it. So nothing is forbidden there
 * that read committed allows.
 */
export type Level = 'read committed' | 'weak repeatable read' | 'snapshot' | 'serializable';

const ALLOWED: { readonly [L in Level]: readonly Kind[] } = {
  'read committed': ['G-single', 'G-nonadjacent', 'G2-item'],
  'weak repeatable read': ['G-single', 'G-nonadjacent', 'G2-item'],
  snapshot: ['G2-item'],
  serializable: [],
};

export type Levels = { readonly [D in DatabaseName]: Level };

/** Whether an anomaly breaks what its database promises; those without a database break what the coordinator does. */
export function isForbidden({ kind, database }: Anomaly, levels: Levels): boolean {
  return database === undefined || !ALLOWED[levels[database]].includes(kind);
}
