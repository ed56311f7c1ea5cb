/** What one transaction has read and written, over what was committed when it began. */

/** What a key is to hold; a deleted one holds nothing. */
type Written<V> = { readonly value: V } | 'deleted';

/** @internal A state of the changes, to return to. */
export type ChangesSoFar<K, V> = ReadonlyMap<K, Written<V>>;

export class MemoryChanges<K, V> {
  /** How it has ended; undefined until then. */
  ended: 'committed' | 'rolled back' | undefined = undefined;
  /** A map that nobody changes: a commit makes another one. So it needs no copy, and what is read fits together. */
  readonly #snapshot: ReadonlyMap<K, V>;
  readonly #read = new Set<K>();
  #readAll = false;
  #written = new Map<K, Written<V>>();

  constructor(snapshot: ReadonlyMap<K, V>) {
    this.#snapshot = snapshot;
  }

  get isEmpty(): boolean {
    return this.#written.size === 0;
  }

  get(key: K): V | undefined {
    const written = this.#written.get(key);
    if (written !== undefined) return written === 'deleted' ? undefined : written.value;
    this.#read.add(key);
    return this.#snapshot.get(key);
  }

  has(key: K): boolean {
    const written = this.#written.get(key);
    if (written !== undefined) return written !== 'deleted';
    this.#read.add(key);
    return this.#snapshot.has(key);
  }

  entries(): Map<K, V> {
    this.#readAll = true;
    return this.appliedTo(this.#snapshot);
  }

  set(key: K, value: V): void {
    this.#written.set(key, { value });
  }

  delete(key: K): void {
    this.#written.set(key, 'deleted');
  }

  get soFar(): ChangesSoFar<K, V> {
    return new Map(this.#written);
  }

  /** What was read stays read: it may have led to what is done next. */
  returnTo(then: ChangesSoFar<K, V>): void {
    this.#written = new Map(then);
  }

  /** Whether what was read is no longer so. */
  isStale(committed: ReadonlyMap<K, V>): boolean {
    if (committed === this.#snapshot) return false;
    if (this.#readAll) return true;
    for (const key of this.#read) {
      if (committed.has(key) !== this.#snapshot.has(key)) return true;
      if (!Object.is(committed.get(key), this.#snapshot.get(key))) return true;
    }
    return false;
  }

  /** Whether one of the two has read what the other one writes: then they must not commit at the same time. */
  dependsOn(other: MemoryChanges<K, V>): boolean {
    return this.#readsFrom(other) || other.#readsFrom(this);
  }

  #readsFrom(writer: MemoryChanges<K, V>): boolean {
    if (this.#readAll) return true;
    for (const key of writer.#written.keys()) if (this.#read.has(key)) return true;
    return false;
  }

  appliedTo(committed: ReadonlyMap<K, V>): Map<K, V> {
    const result = new Map(committed);
    for (const [key, written] of this.#written) {
      if (written === 'deleted') result.delete(key);
      else result.set(key, written.value);
    }
    return result;
  }
}
