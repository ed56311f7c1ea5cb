// Stands in for uvu, which test/support/suite.ts drives, in a process of mutation testing: runs tests whenever it is asked to, those that it is
// asked for, with the mutant that it is asked for, and tells the instrumentation which test is running.
import { type Answer, hooksOf, instrumentation, loading, type Outcome, PROGRESS, type Request } from './messages.ts';

type Body = () => unknown;
type Hooks = { readonly before: Body[]; readonly after: Body[] };
type Test = {
  readonly id: string;
  readonly file: string;
  readonly suite: string;
  readonly name: string;
  readonly hooks: Hooks;
  readonly body: Body;
};

const tests = new Map<string, Test>();
/** What suite.ts says about failures outside of the tests. */
const complaints: string[] = [];

/** A suite as uvu has it, as far as test/support/suite.ts uses it. */
export function suite(title: string): unknown {
  const { file } = loading;
  const hooks: Hooks = { before: [], after: [] };
  const add = (name: string, body: Body): void => {
    let id = `${file} > ${title} > ${name}`;
    // Two tests of a file may have one name.
    while (tests.has(id)) id += ' again';
    tests.set(id, { id, file, suite: title, name: `${title} > ${name}`, hooks, body });
  };
  return Object.assign(add, {
    only: add,
    before: (body: Body): void => void hooks.before.push(body),
    after: (body: Body): void => void hooks.after.push(body),
    run: (): void => undefined,
  });
}

/** Serves until the runner goes away. */
export async function exec(): Promise<void> {
  const { write } = process.stdout;
  process.stdout.write = (text: string | Uint8Array, ...rest: never[]): boolean => {
    if (typeof text === 'string' && text.startsWith('FAILED ')) complaints.push(text);
    return write.call(process.stdout, text, ...rest);
  };
  process.on('message', (request: Request) => void serve(request).then((answer) => process.send?.(answer)));
  process.send?.('ready');
  await new Promise(() => undefined);
}

async function serve({ tests: ids, bail, mutant, hitLimit }: Request): Promise<Answer> {
  const chosen = ids === undefined ? [...tests.values()] : ids.flatMap((id) => tests.get(id) ?? []);
  complaints.length = 0;
  instrumentation.hitCount = hitLimit === undefined ? undefined : 0;
  instrumentation.hitLimit = hitLimit;
  const outcomes: Outcome[] = [];
  let failsWithout = false;
  let hangs = false;
  for (let rest = chosen; rest.length > 0 && !failsWithout && !hangs; rest = chosen.slice(outcomes.length)) {
    hangs = await runAll(rest, mutant, bail, outcomes);
    const last = outcomes.at(-1);
    if (!bail || hangs || last?.failure === undefined) break;
    const again = [chosen[outcomes.length - 1]!];
    failsWithout = await fails(again, undefined);
    if (failsWithout || (await fails(again, mutant))) break;
    // It had to do with time, not with the mutant.
    outcomes[outcomes.length - 1] = { ...described(again[0]!), ms: last.ms };
  }
  const hits = instrumentation.hitCount;
  const { mutantCoverage: coverage } = instrumentation;
  const broken = complaints[0];
  return {
    tests: outcomes,
    hangs,
    failsWithout,
    ...(broken === undefined ? {} : { broken }),
    ...(hits === undefined ? {} : { hits }),
    ...(ids === undefined && coverage !== undefined ? { coverage } : {}),
  };
}

async function fails(chosen: readonly Test[], mutant: string | undefined): Promise<boolean> {
  const outcomes: Outcome[] = [];
  return (await runAll(chosen, mutant, true, outcomes)) || outcomes.some(({ failure }) => failure !== undefined);
}

/** Says whether the last one hangs. */
async function runAll(
  chosen: readonly Test[],
  mutant: string | undefined,
  bail: boolean,
  outcomes: Outcome[],
): Promise<boolean> {
  instrumentation.activeMutant = mutant;
  let open: Test | undefined;
  for (const test of chosen) {
    if (open?.hooks !== test.hooks) {
      if (open !== undefined) await around(open, open.hooks.after);
      await around(test, test.hooks.before);
    }
    open = test;
    process.send?.(PROGRESS);
    const outcome = await run(test);
    outcomes.push(outcome ?? { ...described(test), ms: 0, failure: 'it hangs' });
    if (outcome === undefined) return true;
    if (outcome.failure !== undefined && bail) break;
  }
  if (open !== undefined) await around(open, open.hooks.after);
  instrumentation.currentTestId = undefined;
  // A rejection that nobody handles is told after the promises that are due.
  await new Promise((resolve) => setImmediate(resolve));
  instrumentation.activeMutant = undefined;
  return false;
}

async function around({ file, suite: title }: Test, bodies: readonly Body[]): Promise<void> {
  instrumentation.currentTestId = hooksOf(file, title);
  for (const body of bodies) await body();
}

async function run(test: Test): Promise<Outcome | undefined> {
  instrumentation.currentTestId = test.id;
  const start = performance.now();
  const outcome = (async (): Promise<Outcome> => {
    try {
      await test.body();
      return { ...described(test), ms: performance.now() - start };
    } catch (error) {
      const failure = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      return { ...described(test), ms: performance.now() - start, failure };
    }
  })();
  return await Promise.race([outcome, patience()]);
}

function described({ id, file, suite: title, name }: Test): Omit<Outcome, 'ms'> {
  return { id, file, suite: title, name };
}

/** Is through after so many turns of a clock as no test takes, which on a busy machine come later. */
let clock: NodeJS.Timeout | undefined;
function patience(): Promise<undefined> {
  clearInterval(clock);
  return new Promise((resolve) => {
    let turns = 0;
    clock = setInterval(() => {
      if (++turns === 30) resolve(undefined);
    }, 100);
  });
}
