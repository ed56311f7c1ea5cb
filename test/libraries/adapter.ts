// What the scenarios ask of a library, and of the database that it works on: a table accounts (id, balance).

/** The statements of a library, or of the handle of one of its own transactions. */
export interface Statements {
  insert(id: number): Promise<unknown>;
  update(id: number, balance: number): Promise<unknown>;
  remove(id: number): Promise<unknown>;
  /** The ids of all accounts, in order. */
  ids(): Promise<number[]>;
}

/** The handle that a library gives for a transaction of its own. */
export interface Own extends Statements {
  /** Another one inside, where the library has that. */
  readonly nested?: <T>(work: (own: Own) => Promise<T>) => Promise<T>;
}

export interface OwnOptions {
  readonly isolation?: 'serializable';
}

/** A library at work. */
export interface Adapter extends Statements {
  readonly name: string;
  /** Runs a function in a transaction of the library's own, by the library's API. */
  transaction<T>(work: (own: Own) => Promise<T>, options?: OwnOptions): Promise<T>;
  /** The ids of all accounts one after the other, where the library can read that way. */
  readonly stream?: () => AsyncIterable<number>;
  /** Whether it says "already complete" where its BEGIN was refused, rather than why. */
  readonly hidesRefusedBegin?: boolean;
  /** Whether it can do so outside of a transaction; default true. */
  readonly streamsOutside?: boolean;
  /** What the library does at its end; the pool stays. */
  close(): Promise<unknown>;
}

/** A database with the session that libraries work by. */
export interface Accounts {
  /** What is stored, seen from outside. */
  ids(): Promise<number[]>;
  balance(id: number): Promise<number | undefined>;
  /** A statement by the session itself. */
  insertBySession(id: number): Promise<unknown>;
  /** Makes the server refuse the transaction of `own` with a transient error, where a change from outside wouldn't. */
  readonly collide?: (own: Pick<Statements, 'update'>) => Promise<void>;
  /** Nothing is held at either end. */
  assertClean(): Promise<void>;
  /** Back to the accounts 1 and 2, of 100 each. */
  reset(): Promise<void>;
}

/** An error and all that libraries have wrapped in it. */
export function chainOf(error: unknown): { readonly code?: unknown }[] {
  const chain: object[] = [];
  const add = (each: unknown): void => {
    if (typeof each !== 'object' || each === null || chain.includes(each)) return;
    chain.push(each);
    const { cause, parent, original, driverError, previous } = each as Record<string, unknown>;
    for (const inner of [cause, parent, original, driverError, previous]) add(inner);
  };
  add(error);
  return chain;
}

/** Accepts an error that has one with this code in it, however the library wraps it. */
export function holds(code: string): (error: unknown) => boolean {
  return (error) => chainOf(error).some((each) => each.code === code);
}
