// What clients have asked of the databases and what they were told, and what is in the databases in the end: all that the checker goes by.

export type DatabaseName = 'a' | 'b';

export const DATABASES: readonly DatabaseName[] = ['a', 'b'];

/** A value is put at the end of the list under a key. No other step of any attempt has the same value. */
export interface Append {
  readonly do: 'append';
  readonly database: DatabaseName;
  readonly key: string;
  readonly value: string;
  /** Taken back by a savepoint: as if it had never been there. */
  readonly isUndone?: boolean;
}

/** The list under a key is read. */
export interface Read {
  readonly do: 'read';
  readonly database: DatabaseName;
  readonly key: string;
  /** What was there; absent where no answer came. */
  readonly values?: readonly string[];
}

export type Step = Append | Read;

/** How it ended, as its client was told; nobody was told of what is unknown. */
export type Ending = 'committed' | 'aborted' | 'unknown';

/** One attempt of one transaction: each is a transaction of its own for the databases. */
export interface Attempt {
  readonly id: string;
  /** In the order in which they were asked for. */
  readonly steps: readonly Step[];
  readonly ending: Ending;
  /** Before its first statement, in milliseconds of a clock that all clients share. */
  readonly invokedAt: number;
  /** When its client was told of the ending; absent where nobody was. */
  readonly toldAt?: number;
  /** Committed, but one of the databases is yet to follow. */
  readonly isPending?: boolean;
}

/** The lists of one database, by key. */
export type Lists = ReadonlyMap<string, readonly string[]>;

export interface History {
  readonly attempts: readonly Attempt[];
  /** What is there in the end, when nothing is under way any more. */
  readonly lists: ReadonlyMap<DatabaseName, Lists>;
}

export function isAppend(step: Step): step is Append {
  return step.do === 'append';
}

/** The appends that are to be seen where the attempt has committed. */
export function appendsOf({ steps }: Pick<Attempt, 'steps'>): Append[] {
  return steps.filter((step): step is Append => isAppend(step) && step.isUndone !== true);
}

/** A key of a database, and its list in the end. */
export function listOf({ lists }: History, { database, key }: Pick<Step, 'database' | 'key'>): readonly string[] {
  return lists.get(database)?.get(key) ?? [];
}

/** For maps: the list that a step is about. */
export function place({ database, key }: Pick<Step, 'database' | 'key'>): string {
  return `${database}/${key}`;
}
