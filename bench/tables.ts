// What there is to be measured: each table, or part of one, by a name.
import { coordinatorPart } from './coordinator/part.ts';
import * as growth from './growth/cases.ts';
import { growthPart } from './growth/part.ts';
import { leaksPart } from './leaks.ts';
import { loadPart } from './load/part.ts';
import { onMariadb } from './mariadb/table.ts';
import type { Choice, MeasureOptions } from './options.ts';
import { onPostgres, readOnly } from './postgres/table.ts';
import { onPostgresByPeers } from './postgres-peers/table.ts';
import { onPostgresAndRedis } from './postgres-redis/table.ts';
import { onRedis } from './redis/table.ts';
import { readyMariadb, readyPostgres, readyRedis } from './servers.ts';
import { throughputPart } from './throughput/part.ts';
import { onTwo } from './two/table.ts';

/** A table, or a part of one. */
export type Part<Result> = {
  readonly name: string;
  /** The number of its table. */
  readonly table: string;
  /** How long it takes, about. */
  readonly seconds: (choice: Choice) => number;
  /** Whether its servers can be farther away. */
  readonly canBeDelayed?: true;
  /**
   * Measures, and prints each table when it is done.
   *
   * @param save is given what is known until now, again and again.
   * @throws ServerUnavailable where a server isn't installed that it takes.
   */
  readonly measure: (options: MeasureOptions, save: (result: Result) => void) => Promise<Result>;
  readonly print: (result: Result) => void;
};

export const parts = [
  coordinatorPart,
  throughputPart('postgres', [readyPostgres], onPostgres),
  throughputPart('postgres-peers', [readyPostgres], onPostgresByPeers),
  throughputPart('mariadb', [readyMariadb], onMariadb),
  throughputPart('redis', [readyRedis], onRedis),
  throughputPart('read-only', [readyPostgres], readOnly),
  throughputPart('postgres+mariadb', [readyPostgres, readyMariadb], onTwo('PostgreSQL and MariaDB')),
  throughputPart('postgres+redis', [readyPostgres, readyRedis], onPostgresAndRedis),
  throughputPart('postgres+postgres', [readyPostgres, readyPostgres], onTwo('PostgreSQL A and B')),
  growthPart('growth-databases', growth.databases),
  growthPart('growth-statements', growth.statements),
  growthPart('growth-savepoints', growth.savepoints),
  throughputPart('growth-clients', [readyPostgres], growth.clients),
  growthPart('growth-open', growth.open),
  growthPart('growth-contexts', growth.contexts),
  growthPart('growth-heap', growth.heap),
] as const;

/** What is measured only where it is asked for; both fail where something is left over. */
export const extras = { leaks: leaksPart, load: loadPart } as const;

/** The part of this name. */
export function partNamed(name: string): Part<unknown> | undefined {
  const all = [...parts, ...Object.values(extras)] as readonly Part<unknown>[];
  return all.find((part) => part.name === name);
}

/** The parts with one of the names, or of one of the tables; all of them where neither is given. */
export function chosen(tables: readonly string[], names: readonly string[]): readonly Part<unknown>[] {
  const all = parts as readonly Part<unknown>[];
  refuseUnknown('tables', tables, [...new Set(all.map(({ table }) => table))]);
  refuseUnknown(
    'parts',
    names,
    all.map(({ name }) => name),
  );
  if (tables.length === 0 && names.length === 0) return all;
  return all.filter(({ table, name }) => tables.includes(table) || names.includes(name));
}

function refuseUnknown(kind: string, asked: readonly string[], known: readonly string[]): void {
  const unknown = asked.find((each) => !known.includes(each));
  if (unknown !== undefined) throw new Error(`there are ${kind} ${known.join(', ')}, none '${unknown}'`);
}
