// The only place that imports uvu, because uvu 0.5.6 exits with 0 when a hook throws, when a suite is never run, when a
// file has no tests, and when a test is never settled. Here each of these fails the file.
//
//   const test = suite('name');
//   test.before(async () => {});
//   test('states what it protects', async () => {});
//   test.skip('why not', 'states what it would protect', async () => {});
//
// Suites run by themselves, in order, once the file has been evaluated. The last line that a file prints is its count,
// which test/run.ts sums.
import { writeSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { inspect } from 'node:util';
import { countLine, type Count } from './count.ts';

export { assert } from './assert.ts';

type Body = () => unknown;
type Hook = { (body: Body): void; each: (body: Body) => void };

/** Where a test or a suite departs from the default time limit of 30 seconds, which holds for hooks too. */
export type Options = { readonly timeoutMs?: number };

type Register = { (name: string, body: Body): void; (name: string, options: Options, body: Body): void };
type RegisterSkip = (reason: string, name: string, ...ignored: unknown[]) => void;

/** Registers the tests of one suite. */
export type Test = Register & {
  readonly before: Hook;
  readonly after: Hook;
  /** Runs this test and no other of the suite; fails where CI=true. */
  readonly only: Register;
  /** Skips aloud; fails where CI=true, because there everything that a test needs is to be had. */
  readonly skip: RegisterSkip;
  /** Skips aloud what this platform cannot do, where CI=true too. */
  readonly skipOnPlatform: RegisterSkip;
};

const defaultTimeoutMs = 30_000;
const drainTimeoutMs = 20_000;
// Databases are dropped when nothing else is left, which takes its time on a machine that has much to do.
const cleaningTimeoutMs = 60_000;
const isCI = process.env['CI'] === 'true';

// Makes uvu leave it to this file when the suites run, which it asks when it is imported.
const uvuGlobal = globalThis as { UVU_DEFER?: number; UVU_QUEUE?: unknown[][] };
uvuGlobal.UVU_DEFER = 1;
uvuGlobal.UVU_QUEUE = [[null]];
const uvu = await import('uvu');

const count: Count = { passed: 0, failed: 0, skipped: 0 };
const suites: { run(): void }[] = [];
const reported = new Set<unknown>();
let phase: 'collecting' | 'running' | 'finished' | 'skipped' = 'collecting';

/** Opens a suite, which runs by itself when the file has been evaluated. */
export function suite(title: string, options: Options = {}): Test {
  if (phase !== 'collecting') throw new Error('a suite must be opened while its file is being evaluated');
  const inner = uvu.suite(title);
  const hooks = { before: [] as Body[], after: [] as Body[], beforeEach: [] as Body[], afterEach: [] as Body[] };
  const suiteTimeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  let tests = 0;
  let broken: { error: unknown } | undefined;

  const runHooks = async (kind: keyof typeof hooks): Promise<void> => {
    for (const hook of hooks[kind]) await limited(hook, suiteTimeoutMs, `a ${kind} hook of ${title}`);
  };

  const runTest = async (name: string, timeoutMs: number, body: Body): Promise<void> => {
    if (broken !== undefined) throw new Error('not run, because a before hook failed', { cause: broken.error });
    const failures: unknown[] = [];
    try {
      await runHooks('beforeEach');
      await limited(body, timeoutMs, name);
    } catch (error) {
      failures.push(error);
    }
    try {
      await runHooks('afterEach');
    } catch (error) {
      failures.push(error);
    }
    if (failures.length > 1) throw new AggregateError(failures, 'the test failed, and then an after.each hook');
    if (failures.length === 1) throw failures[0];
  };

  const register =
    (target: 'only' | undefined): Register =>
    (name: string, ...rest: [Body] | [Options, Body]): void => {
      const [own, body] = rest.length === 1 ? [{}, rest[0]] : rest;
      const timeoutMs = own.timeoutMs ?? suiteTimeoutMs;
      tests++;
      if (target === 'only' && isCI) fail(`test.only in ${title}`, new Error('test.only leaves the other tests out'));
      const handler = async (): Promise<void> => {
        try {
          await runTest(name, timeoutMs, body);
          count.passed++;
        } catch (error) {
          count.failed++;
          throw printable(error);
        }
      };
      (target === 'only' ? inner.only : inner)(name, handler);
    };

  const skipper =
    (failsInCI: boolean): RegisterSkip =>
    (reason, name) => {
      tests++;
      skipAloud(`${title} > ${name}`, reason, failsInCI);
    };

  const hook = (before: 'before' | 'after', each: 'beforeEach' | 'afterEach'): Hook => {
    const register = (body: Body): void => void hooks[before].push(body);
    return Object.assign(register, { each: (body: Body): void => void hooks[each].push(body) });
  };

  inner.before(async () => {
    try {
      await runHooks('before');
    } catch (error) {
      broken = { error };
      fail(`${title}: a before hook`, error);
    }
  });
  inner.after(async () => {
    try {
      await runHooks('after');
    } catch (error) {
      fail(`${title}: an after hook`, error);
    }
  });
  suites.push({
    run() {
      if (tests === 0) fail(title, new Error('the suite has no tests'));
      inner.run();
    },
  });
  return Object.assign(register(undefined), {
    before: hook('before', 'beforeEach'),
    after: hook('after', 'afterEach'),
    only: register('only'),
    skip: skipper(true),
    skipOnPlatform: skipper(false),
  });
}

/** Ends the process: the whole file is skipped aloud, which fails where CI=true. */
export function skipFile(reason: string): never {
  phase = 'skipped';
  skipAloud('the whole file', reason, true);
  process.exit();
}

/** Counts and says that a part of the file isn't tested, because what it needs is not to be had on a usual machine. */
export function skipPart(what: string, reason: string): void {
  skipAloud(what, reason, false);
}

function skipAloud(what: string, reason: string, failsInCI: boolean): void {
  count.skipped++;
  say(`SKIPPED ${what}: ${reason}`);
  if (failsInCI && isCI) fail(what, new Error(`must not be skipped where CI=true: ${reason}`));
}

/** Counts a failure outside a test, once however often it is reported. */
function fail(what: string, error: unknown): void {
  if (error instanceof Error) {
    if (reported.has(error)) return;
    reported.add(error);
  }
  count.failed++;
  say(`FAILED ${what}: ${inspect(error)}`);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function limited(body: Body, timeoutMs: number, what: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} is not settled after ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    await Promise.race([body(), timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** uvu prints only the stack of an Error, and breaks on anything else. */
function printable(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(`rejected with ${inspect(error)}, which is not an Error`);
  const inner = error instanceof AggregateError ? error.errors : error.cause === undefined ? [] : [error.cause];
  if (inner.length > 0) error.stack = `${error.stack}${inner.map((each) => `\ncaused by ${inspect(each)}`).join('')}`;
  return error;
}

async function runSuites(): Promise<void> {
  phase = 'running';
  if (suites.length === 0) fail('the file', new Error('it has no suites'));
  for (const each of suites) each.run();
  await uvu.exec();
  phase = 'finished';
  endWithin(drainTimeoutMs);
}

let endTimer: NodeJS.Timeout | undefined;

/** Fails where something keeps the process from ending for longer. */
function endWithin(timeoutMs: number): void {
  clearTimeout(endTimer);
  endTimer = setTimeout(() => {
    fail('the file', new Error(`it does not end: still open are ${process.getActiveResourcesInfo().join(', ')}`));
    process.exit();
  }, timeoutMs).unref();
}

// Node 20 may spin for ever in its own teardown when a connection was cut at a bad moment, after everything has ended: so the
// process exits explicitly, once nothing is left to do, also of what others do before the exit.
let endedBefore = false;
process.on('beforeExit', () => {
  if (phase !== 'finished') return;
  if (endedBefore) process.exit();
  endedBefore = true;
  endWithin(cleaningTimeoutMs);
  setImmediate(() => undefined);
});

process.on('unhandledRejection', (error) => fail('an unhandled rejection', error));
process.on('uncaughtException', (error) => fail('an uncaught exception', error));

process.on('exit', (code) => {
  if (phase === 'collecting' || phase === 'running') {
    fail('the file', new Error(`the process ends (code ${code}) before all tests are settled`));
  }
  process.exitCode = count.failed > 0 ? 1 : code;
  writeSync(1, `${countLine(count)}\n`);
});

// The entry module is being evaluated now; importing it again waits for its end, whatever it awaits at its top level.
import(pathToFileURL(process.argv[1] ?? '').href).then(runSuites).catch((error: unknown) => {
  fail('the file', error);
  process.exit();
});
