// What there is to be measured: each table, or part of one, by a name.
import { printCoordinator } from './coordinator/print.ts';
import { measureCoordinator } from './coordinator/table.ts';
import {
  type ServerResults,
  measureMariadb,
  measurePostgres,
  measurePostgresAndMariadb,
  measureRedis,
  measureTwoPostgres,
} from './servers.ts';
import { printThroughput } from './throughput/print.ts';
import type { MeasureOptions } from './throughput/table.ts';

/** A table, or a part of one. */
export type Part = {
  readonly name: string;
  /** The number of its table. */
  readonly table: string;
  /** @throws ServerUnavailable where a server isn't installed that it takes. */
  readonly measure: (options: MeasureOptions) => Promise<Measured>;
};

export type Measured = {
  /** What is put out as JSON. */
  readonly result: unknown;
  readonly print: () => void;
};

export const parts: readonly Part[] = [
  {
    name: 'coordinator',
    table: '1',
    measure: async (options) => {
      const result = await measureCoordinator(options);
      return { result, print: () => printCoordinator(result) };
    },
  },
  onServers('postgres', '2', measurePostgres),
  onServers('mariadb', '2', measureMariadb),
  onServers('redis', '2', measureRedis),
  onServers('postgres+mariadb', '4', measurePostgresAndMariadb),
  onServers('postgres+postgres', '4', measureTwoPostgres),
];

function onServers(name: string, table: string, measure: (options: MeasureOptions) => Promise<ServerResults>): Part {
  return {
    name,
    table,
    measure: async (options) => {
      const result = await measure(options);
      return {
        result,
        print: () => {
          console.log(`\n${result.version}`);
          printThroughput(result.tables);
        },
      };
    },
  };
}

/** The parts with one of the names, or of one of the tables; all of them where neither is given. */
export function chosen(tables: readonly string[], names: readonly string[]): readonly Part[] {
  refuseUnknown('tables', tables, [...new Set(parts.map(({ table }) => table))]);
  refuseUnknown(
    'parts',
    names,
    parts.map(({ name }) => name),
  );
  if (tables.length === 0 && names.length === 0) return parts;
  return parts.filter(({ table, name }) => tables.includes(table) || names.includes(name));
}

function refuseUnknown(kind: string, asked: readonly string[], known: readonly string[]): void {
  const unknown = asked.find((each) => !known.includes(each));
  if (unknown !== undefined) throw new Error(`there are ${kind} ${known.join(', ')}, none '${unknown}'`);
}
