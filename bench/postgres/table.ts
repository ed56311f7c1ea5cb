// Table 2: one PostgreSQL. Every slice of a contender lies between two of the baseline, and only their ratio counts.
import { join } from 'node:path';
import pg from 'pg';
import { Contender } from '../contender.ts';
import { type Spread, ascending, quantile, shuffled, spreadOf } from '../statistics.ts';
import type { ContenderName } from './contenders.ts';
import { ROWS, type SliceAnswer, type SliceRequest, type Workload } from './workload.ts';

export type PostgresOptions = {
  readonly folder: string;
  /** Another build of the same, to compare with. */
  readonly compare: string | undefined;
  readonly url: string;
  readonly quick: boolean;
};

export type PostgresRow = {
  readonly title: string;
  /** Throughput against the baseline's. */
  readonly ratio: Spread;
  /** Transactions a second. */
  readonly rate: number;
  /** Microseconds a transaction. */
  readonly p50: number;
  readonly p99: number;
  /** Microseconds of this process's CPU a transaction, and against the baseline's. */
  readonly cpu: number;
  readonly cpuRatio: number;
};

export type PostgresTable = {
  readonly workload: Workload;
  readonly clients: number;
  readonly rounds: number;
  /** Whether the baseline against itself was 1.00 ± 0.05. */
  readonly valid: boolean;
  readonly rows: readonly PostgresRow[];
};

type Entry = { readonly title: string; readonly name: ContenderName; readonly other?: true };

const baseline: Entry = { title: 'hand-written pg', name: 'handWritten' };
const entries: Record<Workload, readonly Entry[]> = {
  write: [
    { title: 'hand-written pg, again', name: 'handWritten' },
    { title: 'hand-written pg, named statements', name: 'handWrittenNamed' },
    { title: 'the same protocol by hand', name: 'protocolByHand' },
    { title: 'the same protocol by hand, named statements', name: 'protocolByHandNamed' },
    { title: 'run()', name: 'byRun' },
    { title: 'run(), namesStatements: false', name: 'byRunUnnamed' },
    { title: 'begin(), commit()', name: 'byBegin' },
    { title: 'run(), statements named by the user', name: 'byRunNamed' },
    { title: 'run(), the other build', name: 'byRun', other: true },
  ],
  read: [
    { title: 'hand-written pg, again', name: 'handWritten' },
    { title: 'hand-written pg, named statements', name: 'handWrittenNamed' },
    { title: 'the same protocol by hand', name: 'protocolByHand' },
    { title: 'the same protocol by hand, named statements', name: 'protocolByHandNamed' },
    { title: 'run()', name: 'byRun' },
    { title: 'run(), namesStatements: false', name: 'byRunUnnamed' },
    { title: 'run({ readOnly: true })', name: 'byRunReadOnly' },
    { title: 'autocommit, no transaction', name: 'autocommit' },
    { title: 'run(), the other build', name: 'byRun', other: true },
  ],
};

const TOLERANCE = 0.05;
const LONGEST_WARM_UP_MS = 10_000;

export async function createAccounts(url: string): Promise<string> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    await client.query('create table accounts (id int primary key, balance int not null) with (fillfactor = 50)');
    await client.query('insert into accounts select n, 0 from generate_series(1, $1) n', [ROWS]);
    await client.query('vacuum analyze accounts');
    const { rows } = await client.query<{ server_version: string }>('show server_version');
    return rows[0]!.server_version;
  } finally {
    await client.end();
  }
}

export async function measurePostgres(options: PostgresOptions): Promise<PostgresTable[]> {
  const tables: PostgresTable[] = [];
  for (const workload of ['write', 'read'] as const) {
    const own = entries[workload].filter(({ other }) => other !== true || options.compare !== undefined);
    const start = ({ title, name, other }: Entry): Promise<Contender> => {
      const folder = other === true ? options.compare! : options.folder;
      return Contender.start(title, join(folder, 'bench', 'postgres', 'process.js'), [name, options.url]);
    };
    const base = await start(baseline);
    const contenders: Contender[] = [];
    try {
      for (const entry of own) contenders.push(await start(entry));
      for (const clients of [1, 16]) tables.push(await measure(base, contenders, workload, clients, options.quick));
    } finally {
      for (const contender of [base, ...contenders]) await contender.stop();
    }
  }
  return tables;
}

/** Works for a while, and until all that is called often is optimised. */
async function warmUp(ask: (change: Partial<SliceRequest>) => Promise<SliceAnswer>, quick: boolean): Promise<void> {
  const [enoughMs, enough] = quick ? [500, 2_000] : [1_500, 6_000];
  const measuredMs = 250;
  let transactions = 0;
  for (let ms = 0; (ms < enoughMs || transactions < enough) && ms < LONGEST_WARM_UP_MS; ms += measuredMs) {
    transactions += (await ask({ measuredMs })).latencies.length;
  }
}

async function measure(
  base: Contender,
  contenders: readonly Contender[],
  workload: Workload,
  clients: number,
  quick: boolean,
): Promise<PostgresTable> {
  const request: SliceRequest = { workload, clients, unmeasuredMs: 40, measuredMs: 250 };
  const ask = (contender: Contender, change?: Partial<SliceRequest>): Promise<SliceAnswer> =>
    contender.ask('slice', { ...request, ...change });
  for (const contender of [base, ...contenders]) await warmUp((change) => ask(contender, change), quick);

  const rounds = quick ? 5 : 15;
  const slices = contenders.map((contender) => ({
    contender,
    answers: [] as SliceAnswer[],
    ratios: [] as number[],
    cpu: [] as number[],
  }));
  for (let round = 0; round < rounds; round++) {
    let before = await ask(base);
    for (const { contender, answers, ratios, cpu } of shuffled(slices)) {
      const answer = await ask(contender);
      const after = await ask(base);
      answers.push(answer);
      ratios.push((2 * answer.rate) / (before.rate + after.rate));
      cpu.push((2 * answer.cpu) / (before.cpu + after.cpu));
      before = after;
    }
  }
  const rows = slices.map(({ contender, answers, ratios, cpu }): PostgresRow => {
    const latencies = ascending(answers.flatMap((answer) => [...answer.latencies]));
    return {
      title: contender.name,
      ratio: spreadOf(ratios),
      rate: spreadOf(answers.map((answer) => answer.rate)).median,
      p50: quantile(latencies, 0.5),
      p99: quantile(latencies, 0.99),
      cpu: spreadOf(answers.map((answer) => answer.cpu)).median,
      cpuRatio: spreadOf(cpu).median,
    };
  });
  return { workload, clients, rounds, valid: Math.abs(rows[0]!.ratio.median - 1) <= TOLERANCE, rows };
}
