// What an order over five resources is, and what there can be of it.
import type { RunOptions, Transaction } from 'unanimous';

/** The five resources, by the names of their sessions. */
export const resources = ['orders', 'stock', 'cache', 'files', 'mail'] as const;
export type Resource = (typeof resources)[number];
/** Those that can prepare. */
export type Database = 'orders' | 'stock';

/** What errors call them: a data manager that can't be recovered goes by its sort key. */
export const inErrors: Readonly<Record<Resource, string>> = {
  orders: 'orders',
  stock: 'stock',
  cache: '~redis:cache',
  files: 'files:files',
  mail: '~~mail:mail',
};

/** What there is of an order: 1 where it is complete, 0 where there is nothing of it. */
export type Seen = Readonly<Record<Resource, number>>;
export const ALL: Seen = { orders: 1, stock: 1, cache: 1, files: 1, mail: 1 };
export const NOTHING: Seen = { orders: 0, stock: 0, cache: 0, files: 0, mail: 0 };

export interface Order {
  readonly id: number;
  /** By default one of this order's own, of which there are {@link inStock} at first; another one must be there. */
  readonly article: number;
  readonly quantity: number;
  /** PostgreSQL refuses to prepare an order of `refused`. */
  readonly customer: string;
  /** The mail server refuses a recipient that begins with `refused`. */
  readonly to: string;
}

/** More can't be taken than there is: MariaDB refuses it. */
export const inStock = 10;

/** How an order is placed. */
export interface Placing {
  /** In which order the resources are used, and so join; by default that of {@link resources}. */
  readonly steps?: readonly Resource[];
  /** Where the data managers write down what they are called for. */
  readonly log?: string[];
  /** Done inside of the transaction, before all of it. */
  readonly first?: ((txn: Transaction) => unknown) | undefined;
  /** Done inside of the transaction, behind all of it. */
  readonly also?: ((txn: Transaction) => unknown) | undefined;
  readonly run?: RunOptions;
}
