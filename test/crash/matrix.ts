// Makes tests of faults: every fault over every way to commit and every pair of drivers. All cells of a fault are tried at the same
// time, and each has a test of its own.
import { assert, suite } from '../support/suite.ts';
import { Batch } from './batch.ts';
import { CELLS, type Case, type Cell, titleOf } from './case.ts';
import { type World, closeWorld, openWorld } from './databases.ts';
import type { Told } from './messages.ts';

type Outcome = 'committed' | 'aborted';

/** Something that goes wrong. */
export interface Fault {
  /** The row of the table in which the protocol says what must come of it. */
  readonly row: string;
  /** What goes wrong. */
  readonly what: string;
  /** What must be in the databases in the end. */
  readonly outcome: Outcome | ((cell: Cell) => Outcome);
  /** What the caller must have been told; absent where the process died before. */
  readonly told?: Told['outcome'] | ((cell: Cell) => Told['outcome'] | undefined);
  /** Where it can happen; everywhere by default. */
  readonly cells?: (cell: Cell) => boolean;
  /** Lets it happen, and recovers. */
  readonly run: (batch: Batch) => Promise<void>;
  /** What else must be so. */
  readonly check?: (one: Case, batch: Batch) => Promise<void> | void;
  /** Left out of what must be so in all databases alike: somebody has decided otherwise by hand. */
  readonly isForced?: boolean;
}

const TIMEOUT_MS = 240_000;

export function matrix(title: string, faults: readonly Fault[]): void {
  const test = suite(title, { timeoutMs: TIMEOUT_MS });
  let world: World;
  test.before(async () => {
    world = await openWorld();
  });
  test.after(() => closeWorld(world));
  for (const fault of faults) {
    const cells = CELLS.filter(fault.cells ?? (() => true));
    let results: Promise<Map<Cell, unknown>> | undefined;
    for (const cell of cells) {
      test(`${fault.row}: ${fault.what} (${titleOf(cell)})`, async () => {
        const isFirst = results === undefined;
        results ??= play(fault, cells, world);
        if (!isFirst) await results.catch(() => assert.unreachable('see the first cell of this fault'));
        const failure = (await results).get(cell);
        if (failure !== undefined) throw failure as Error;
      });
    }
  }
}

/** Lets a fault happen in all cells; what is wrong afterwards in each. */
async function play(fault: Fault, cells: readonly Cell[], world: World): Promise<Map<Cell, unknown>> {
  const batch = await Batch.open(cells, world);
  const failures = new Map<Cell, unknown>();
  try {
    await fault.run(batch);
    await batch.each((one) => check(fault, one, batch).catch((error: unknown) => void failures.set(one.cell, error)));
  } finally {
    await batch.end();
  }
  return failures;
}

async function check(fault: Fault, one: Case, batch: Batch): Promise<void> {
  await fault.check?.(one, batch);
  await checkTold(fault, one, batch);
  if (fault.isForced === true) return;
  const expected = typeof fault.outcome === 'function' ? fault.outcome(one.cell) : fault.outcome;
  assert.is(await one.outcome(), expected, 'what is in the databases');
  assert.equal(await one.prepared('a', 'b'), [], 'nothing is left prepared');
  assert.equal(await one.decisions(), [], 'no decision is left');
}

/** What was acknowledged is so, whatever was expected. */
async function checkTold(fault: Fault, one: Case, batch: Batch): Promise<void> {
  const told = typeof fault.told === 'function' ? fault.told(one.cell) : fault.told;
  const words = batch.child.words.filter((word) => word.name === one.name);
  const answers = words.filter((word) => word.is === 'told');
  const first = answers.find(({ id }) => id === one.id)?.told;
  assert.is(first?.outcome, told, `what the caller was told: ${first?.error ?? 'no error'}`);
  if (fault.isForced === true) return;
  for (const { id, told: answer } of answers) {
    if (answer.outcome !== 'in doubt') assert.is(await one.outcome(id), answer.outcome, 'what was acknowledged');
  }
  for (const word of words) {
    if (word.is === 'resolved' && word.outcome !== 'unknown') assert.is(await one.outcome(), word.outcome);
  }
}
