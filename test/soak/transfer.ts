// A transfer: which accounts of which banks give and get, and what else happens in it.
import type { Random } from './random.ts';
import type { BankName } from './setting.ts';

export const ACCOUNTS = 60;
export const OPENING_BALANCE = 1_000;

export interface Move {
  readonly bank: BankName;
  readonly account: number;
  /** What the account gets; below zero where it gives. */
  readonly amount: number;
}

export interface Transfer {
  readonly id: string;
  /** In the order in which the accounts are changed in each bank; the amounts add up to nothing. */
  readonly moves: readonly Move[];
  /** Whether the counters in Redis are to know of it. */
  readonly isCounted: boolean;
  /** Between accounts that others want at the same time, so that there are deadlocks. */
  readonly isHot: boolean;
  /** What ends it: nothing, an error that is thrown when all is done, or its deadline. */
  readonly end: 'commit' | 'throw' | 'time out';
}

/** The banks that take part, in order. */
export function banksOf({ moves }: Pick<Transfer, 'moves'>): BankName[] {
  return [...new Set(moves.map(({ bank }) => bank))].toSorted();
}

export function drawTransfer(random: Random, id: string, banks: readonly BankName[], hasCounters: boolean): Transfer {
  const count = Number(random.weighted({ '1': 25, '2': 45, '3': 30 }));
  const taking = random.shuffled(banks).slice(0, count);
  const isHot = random.chance(0.05);
  return {
    id,
    moves: isHot ? hotMoves(random, taking) : moves(random, taking),
    isCounted: hasCounters && random.chance(0.5),
    isHot,
    end: random.weighted({ commit: 90, throw: 6, 'time out': 4 }),
  };
}

/** From an account of the first bank to one of each other; within one bank from one account to another. */
function moves(random: Random, [first, ...others]: readonly BankName[]): Move[] {
  const [from, to] = random.shuffled(Array.from({ length: ACCOUNTS }, (_, index) => index + 1));
  const getting = others.length > 0 ? others : [first!];
  const amount = random.whole(1, 20);
  return [
    { bank: first!, account: from!, amount: -amount * getting.length },
    ...getting.map((bank) => ({ bank, account: to!, amount })),
  ];
}

/** Between the same two accounts of each bank, in any order. */
function hotMoves(random: Random, banks: readonly BankName[]): Move[] {
  return banks.flatMap((bank) => {
    const amount = random.whole(-20, 20);
    return random.shuffled([
      { bank, account: 1, amount },
      { bank, account: 2, amount: -amount },
    ]);
  });
}
