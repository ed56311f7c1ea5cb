// Plays one script both ways, and compares.
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual, inspect } from 'node:util';
import { TransactionCoordinator } from 'unanimous';
import { ByHandPlayer } from './by-hand.ts';
import type { Dialect, Sides } from './dialect.ts';
import { difference } from './log.ts';
import type { Item, Script } from './script.ts';
import { Statements } from './statements.ts';
import { ThroughLibraryPlayer } from './through-library.ts';

/** What was done, for the count. */
export interface Done {
  transactions: number;
  answers: number;
  failures: number;
  retries: number;
}

/** Far more than a script takes, the waits for the connection among them. */
const STUCK_MS = 40_000;
const CLOSING_MS = 2_000;

/** Throws where the two ways differ in an answer, in what is stored, or where something is left behind. */
export async function checkScript(dialects: readonly Dialect[], script: Script, done: Done): Promise<void> {
  const coordinator = new TransactionCoordinator();
  const sides: Sides[] = [];
  try {
    for (const dialect of dialects) sides.push(await dialect.open(coordinator));
    const decisionLog = sides.length > 1 ? sides[0]!.decisionLog?.() : undefined;
    if (decisionLog !== undefined)
      coordinator.configure({ decisionLog, recovery: { everyMs: 3_600_000, leaseMs: 600_000 } });
    await inTime(playBoth(coordinator, sides, script, done));
    await compareContents(sides);
    for (const { library } of sides) await library.assertIdle();
    const open = coordinator.inspect().transactions;
    if (open.length > 0) throw new Error(`transactions are left open: ${inspect(open)}`);
    await coordinator.close();
  } finally {
    // What is stuck holds its connections.
    for (const side of sides) await Promise.race([side.close(), sleep(CLOSING_MS, undefined, { ref: false })]);
  }
}

async function inTime(played: Promise<void>): Promise<void> {
  const limit = new AbortController();
  const stuck = sleep(STUCK_MS, undefined, { signal: limit.signal }).then(() => {
    throw new Error(`the script is stuck: it isn't through after ${STUCK_MS} ms`);
  });
  stuck.catch(() => undefined);
  try {
    await Promise.race([played, stuck]);
  } finally {
    limit.abort();
  }
}

async function playBoth(
  coordinator: TransactionCoordinator,
  sides: readonly Sides[],
  script: Script,
  done: Done,
): Promise<void> {
  const statements = new Statements(
    sides.map(({ dialect }) => dialect),
    script,
  );
  const library = new ThroughLibraryPlayer(coordinator, sides, statements);
  const hand = new ByHandPlayer(sides, statements);
  for (const [index, item] of script.items.flatMap(repeated).entries()) {
    const opened = sides.map((side) => side.library.opened);
    const through = item.kind === 'plain' ? await library.plain(item) : await library.transaction(item);
    // What a connection remembers, such as prepared statements, is gone on both sides where the library has replaced it.
    for (const [at, side] of sides.entries()) if (side.library.opened > opened[at]!) await side.hand.reconnect();
    const byHand = item.kind === 'plain' ? await hand.plain(item) : await hand.transaction(item);
    const differs = difference(through, byHand);
    if (differs !== undefined) throw new Error(`the answers differ in item ${index}:\n${differs}`);
    if (item.kind === 'transaction') done.transactions++;
    done.answers += through.length;
    done.failures += through.filter(({ reply }) => 'error' in reply).length;
  }
  done.retries += library.retries;
}

function repeated(item: Item): Item[] {
  return item.kind === 'plain' ? [item] : Array.from({ length: item.times }, () => item);
}

async function compareContents(sides: readonly Sides[]): Promise<void> {
  for (const side of sides) {
    const { through, byHand } = await side.contents();
    if (isDeepStrictEqual(through, byHand)) continue;
    throw new Error(
      `what is stored in ${side.dialect.name} differs:\nby hand:             ${inspect(byHand, { depth: 9 })}\nthrough the library: ${inspect(through, { depth: 9 })}`,
    );
  }
}
