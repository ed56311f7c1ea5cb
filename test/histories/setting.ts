// What a process of clients is given to work with, and what it and its parent say to each other.
import type { Level } from './anomalies.ts';
import type { DatabaseName } from './history.ts';

export const ISOLATIONS = ['read committed', 'repeatable read', 'serializable'] as const;
export type Isolation = (typeof ISOLATIONS)[number];

/** What database b is; a is PostgreSQL. `mariadb-snapshot` is MariaDB with innodb_snapshot_isolation. */
export const PRODUCTS = ['postgres', 'mariadb', 'mariadb-snapshot'] as const;
export type Product = (typeof PRODUCTS)[number];

/** Where the decisions are: in one of the two, whose commit takes them along, or in a third that nobody else changes. */
export const STORES = ['a', 'b', 'apart'] as const;
export type StoreName = (typeof STORES)[number];

export interface Setting {
  readonly name: string;
  /** Which process under this name it is. */
  readonly life: number;
  readonly seed: string;
  readonly isolation: Isolation;
  readonly product: Product;
  readonly urls: { readonly [S in StoreName]: string };
  /** Processes with the same store are one application, and recover each other. */
  readonly store: StoreName;
  readonly leaseMs: number;
  /** How many transactions are under way in the process at the same time. */
  readonly atOnce: number;
  /** When the run began, by the clock that all processes share. */
  readonly startedAt: number;
  /** Where it writes down what it does. */
  readonly file: string;
}

/** Where a process is to be gone in a commit over both databases. */
export type Point = 'all prepared' | 'decided';

export type Order =
  | { readonly do: 'work' }
  /** To begin nothing more, and to say so when everything has ended. */
  | { readonly do: 'rest' }
  /** To kill itself in the next commit that comes to this point. */
  | { readonly do: 'die at'; readonly point: Point };

export type Word = 'ready' | 'resting';

export function levelOf(product: Product, isolation: Isolation): Level {
  if (isolation !== 'repeatable read') return isolation;
  return product === 'mariadb' ? 'weak repeatable read' : 'snapshot';
}

export function levelsOf(product: Product, isolation: Isolation): { readonly [D in DatabaseName]: Level } {
  return { a: levelOf('postgres', isolation), b: levelOf(product, isolation) };
}

/** Whether a list that was read may be written back with a value more: elsewhere that loses what others have appended meanwhile. */
export function mayRewrite(level: Level): boolean {
  return level === 'snapshot' || level === 'serializable';
}

/** Milliseconds of a clock that all processes of the machine share. */
export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
