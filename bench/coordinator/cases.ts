// What is done in a transaction over managers that do nothing, and what performance is asked of it.

/** One kind of transaction: what joins, what is registered, how it ends. */
export type Case = {
  readonly title: string;
  /** How many data managers join. */
  readonly managers: number;
  /** Whether these return promises. */
  readonly asynchronous: boolean;
  readonly hooks: number;
  readonly savepoints: number;
  readonly abort: boolean;
};

const plain = { managers: 1, asynchronous: false, hooks: 0, savepoints: 0, abort: false };

export const cases = {
  sync0: { ...plain, title: 'no manager', managers: 0 },
  sync1: { ...plain, title: '1 synchronous' },
  sync2: { ...plain, title: '2 synchronous', managers: 2 },
  sync8: { ...plain, title: '8 synchronous', managers: 8 },
  async1: { ...plain, title: '1 asynchronous', asynchronous: true },
  async8: { ...plain, title: '8 asynchronous', asynchronous: true, managers: 8 },
  hooks: { ...plain, title: '1 synchronous, 4 hooks', hooks: 4 },
  savepoints: { ...plain, title: '1 synchronous, 4 savepoints', savepoints: 4 },
  abort: { ...plain, title: '1 synchronous, abort', abort: true },
} as const satisfies Record<string, Case>;

export type CaseName = keyof typeof cases;
export const caseNames = Object.keys(cases) as CaseName[];

/** Who does it; each in a process of its own. */
export const variants = {
  manager: 'TransactionManager',
  'manager+als': 'TransactionManager, AsyncLocalStorage on',
  coordinator: 'TransactionCoordinator',
  run: 'TransactionCoordinator.run()',
  bare: 'bare loop',
  'bare+als': 'bare loop, each in AsyncLocalStorage.run()',
} as const;

export type VariantName = keyof typeof variants;
export const variantNames = Object.keys(variants) as VariantName[];

/** What a slice was: nanoseconds for each transaction. */
export type Slice = { readonly name: CaseName; readonly count: number };

/** Python's `transaction` 5, in nanoseconds; measured on another machine, before. */
export const python: Partial<Record<CaseName, number>> = {
  sync0: 2380,
  sync1: 2830,
  sync2: 3150,
  sync8: 5200,
  hooks: 3500,
  savepoints: 5950,
  abort: 2180,
};

/** What must hold, in nanoseconds a transaction. */
export const limits: Partial<Record<CaseName, number>> = { sync1: 1000, async1: 1800, async8: 7000, abort: 500 };
/** What one more of each may add, in nanoseconds. */
export const limitsOfEach = { hooks: 200, savepoints: 250 } as const;
export const limitOfHeap = 1300;
export const openAtOnce = 10_000;
