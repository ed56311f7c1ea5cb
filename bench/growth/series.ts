// What grows, and by what it is measured.

/** Does something once that is of a size; answers what is measured of it, such as microseconds. */
export type Sized = (size: number) => Promise<number>;

/** A way to do it, on the databases of these addresses. */
export type Make = (urls: readonly string[]) => Sized;

/** Something that is done in sizes, in several ways. */
export type Series<Way extends string = string> = {
  /** The script in this folder that has the ways, without its suffix. */
  readonly script: string;
  /** What a number in the table is. */
  readonly title: string;
  /** What a size is a number of. */
  readonly sizeOf: string;
  readonly sizes: readonly number[];
  readonly ways: Readonly<Record<Way, string>>;
  /** How many databases it takes. */
  readonly databases: number;
  /** How long a slice lasts in milliseconds; it is done once at least. */
  readonly sliceMs: number;
};

export type GrowthRequest = { readonly size: number; readonly ms: number };

/** Numbers of several doings in a row. */
export type GrowthAnswer = { readonly numbers: readonly number[] };
