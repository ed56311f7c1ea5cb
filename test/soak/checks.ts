// What must hold when everything has come to rest, whatever has happened before.
import { counterOf } from './bank.ts';
import type { BankName } from './setting.ts';
import type { Entry, State } from './ledgers.ts';
import { ACCOUNTS, OPENING_BALANCE, banksOf } from './transfer.ts';

/** What was heard of the tellers. */
export interface Heard {
  /** The global ids of which callers were told that they have committed, and that they have aborted. */
  readonly committed: ReadonlySet<string>;
  readonly aborted: ReadonlySet<string>;
  /** Transactions in doubt whose process lives and has not heard how they have ended. */
  readonly doubts: readonly string[];
  /** What they have said of branches that somebody has ended otherwise than was decided. */
  readonly heuristics: readonly string[];
  /** Those that have ended although nobody killed them. */
  readonly deaths: readonly string[];
}

/** The rules, in the words of the report. */
export const RULES = {
  money: 'money is conserved over all banks',
  halves: 'every transfer is in the ledgers of all its banks, or in none',
  balances: 'every balance is what the ledger says',
  lost: 'every acknowledged commit is there',
  appeared: 'no acknowledged abort is there',
  prepared: 'nothing is left prepared, or holds locks',
  decisions: 'no decision is left',
  outbox: 'the outbox is empty',
  counters: 'every counter is what the ledger says',
  doubts: 'every process knows how what was in doubt has ended',
  heuristics: 'no branch has ended otherwise than was decided',
  deaths: 'no teller has ended by itself',
} as const;

export type Rule = keyof typeof RULES;

/** A rule that doesn't hold, and for what. */
export interface Breach {
  readonly rule: Rule;
  readonly what: string;
}

/** One transfer in the ledgers that have it. */
type Found = ReadonlyMap<BankName, Entry>;

export function check(state: State, heard: Heard): Breach[] {
  const found = transfersOf(state);
  const byRule: { readonly [R in Rule]: readonly string[] } = {
    money: money(state),
    halves: halves(found),
    balances: balances(state),
    lost: lost(found, heard),
    appeared: appeared(found, heard),
    prepared: [...state.banks].flatMap(([name, bank]) =>
      bank.prepared
        .map((gid) => `${gid} in ${name}`)
        .concat(bank.strays.map((stray) => `${stray} in ${name}, unlisted`)),
    ),
    decisions: state.decisions,
    outbox: state.outbox.map(
      ({ gid, attempts, isDead, error }) =>
        `${gid}: ${isDead ? 'a dead letter' : 'waiting'} after ${attempts} failures (${error ?? 'none'})`,
    ),
    counters: counters(state, found),
    doubts: heard.doubts,
    heuristics: heard.heuristics,
    deaths: heard.deaths,
  };
  return (Object.keys(RULES) as Rule[]).flatMap((rule) => byRule[rule].map((what) => ({ rule, what })));
}

export function transfersOf({ banks }: State): ReadonlyMap<string, Found> {
  const found = new Map<string, Map<BankName, Entry>>();
  for (const [name, { entries }] of banks) {
    for (const entry of entries) {
      const transfer = found.get(entry.transfer);
      if (transfer === undefined) found.set(entry.transfer, new Map([[name, entry]]));
      else transfer.set(name, entry);
    }
  }
  return found;
}

function money({ banks }: State): string[] {
  let sum = 0;
  for (const bank of banks.values()) for (const balance of bank.balances.values()) sum += balance;
  const wanted = banks.size * ACCOUNTS * OPENING_BALANCE;
  return sum === wanted ? [] : [`there is ${sum} of ${wanted}`];
}

function halves(found: ReadonlyMap<string, Found>): string[] {
  const wrong: string[] = [];
  for (const [transfer, entries] of found) {
    const [first] = entries.values();
    const wanted = banksOf(first!);
    const there = [...entries.keys()].toSorted();
    const isEqual = [...entries.values()].every((entry) => JSON.stringify(entry) === JSON.stringify(first));
    if (!isEqual) wrong.push(`${transfer} isn't the same in ${there.join(' and ')}`);
    else if (there.join() !== wanted.join())
      wrong.push(`${transfer} (${first!.gid}) of ${wanted.join(', ')} is in ${there.join(', ')} only`);
  }
  return wrong;
}

function balances({ banks }: State): string[] {
  return [...banks].flatMap(([name, bank]) => {
    const wanted = new Map(Array.from({ length: ACCOUNTS }, (_, index) => [index + 1, OPENING_BALANCE]));
    for (const { moves } of bank.entries) {
      for (const { bank: where, account, amount } of moves) {
        if (where === name) wanted.set(account, wanted.get(account)! + amount);
      }
    }
    return [...wanted]
      .filter(([account, balance]) => bank.balances.get(account) !== balance)
      .map(
        ([account, balance]) => `account ${account} of ${name} has ${bank.balances.get(account)} instead of ${balance}`,
      );
  });
}

function gidsOf(found: ReadonlyMap<string, Found>): Set<string> {
  return new Set([...found.values()].flatMap((entries) => [...entries.values()].map(({ gid }) => gid)));
}

function lost(found: ReadonlyMap<string, Found>, { committed }: Heard): string[] {
  const gids = gidsOf(found);
  return [...committed].filter((gid) => !gids.has(gid));
}

function appeared(found: ReadonlyMap<string, Found>, { aborted }: Heard): string[] {
  return [...gidsOf(found)].filter((gid) => aborted.has(gid));
}

function counters({ counters: counted }: State, found: ReadonlyMap<string, Found>): string[] {
  if (counted === undefined) return [];
  const wanted = new Map<string, number>();
  for (const entries of found.values()) {
    const [entry] = entries.values();
    if (!entry!.isCounted) continue;
    for (const move of entry!.moves) wanted.set(counterOf(move), (wanted.get(counterOf(move)) ?? 0) + 1);
  }
  const names = new Set([...wanted.keys(), ...counted.keys()]);
  return [...names]
    .filter((name) => (wanted.get(name) ?? 0) !== (counted.get(name) ?? 0))
    .map((name) => `${name} is ${counted.get(name) ?? 0} instead of ${wanted.get(name) ?? 0}`);
}
