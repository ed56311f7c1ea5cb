// Runs the test files, each as a process of its own, against servers that are started once.
//
//   node --import tsx test/run.ts [part of a path ...]
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { type Compiled, compileAll } from './support/compile.ts';
import { readCount, summary, type Count } from './support/count.ts';
import { COMPILED, argumentsFor, compiledFile } from './support/program.ts';
import { startShared } from './support/servers/shared.ts';

const fileTimeoutMs = 15 * 60_000;
// Two more than there are cores, as most of what a test does is waiting for servers.
const concurrency = Math.min(4, availableParallelism() + 2);
const root = join(import.meta.dirname, '..');

/** What takes longest, which begins first, so that nothing of it is left alone at the end. */
const LONG = [
  'test/readme',
  'test/simulation/mutations',
  'test/crash/',
  'test/fuzz/mutations',
  'test/machines/',
  'test/cli/',
  'test/datamanagers/decision-',
  'test/soak/',
  'test/histories/',
  'test/simulation/',
  'test/examples/',
  'test/support/',
  'test/coordinator/leaks',
  'test/datamanagers/pg/leaks',
  'test/datamanagers/mysql/leaks',
];
/** Those that import TypeScript which they write themselves. */
const AS_SOURCES = new Set(['test/coordinator/copies.test.ts']);

type Result = { readonly count: Count; readonly broken: string | undefined };

function findFiles(filters: readonly string[]): string[] {
  const files = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts') && !name.includes('.fixtures-'))
    .map((name) => join('test', name))
    .toSorted()
    .toSorted((a, b) => rank(a) - rank(b));
  if (filters.length === 0) return files;
  const normal = filters.map((filter) => relative(root, filter));
  return files.filter((file) => [...filters, ...normal].some((filter) => filter !== '' && file.includes(filter)));
}

function rank(file: string): number {
  const index = LONG.findIndex((start) => file.startsWith(start));
  return index === -1 ? LONG.length : index;
}

/**
 * What all files can be run from; undefined where each is compiled when it is loaded: because the coverage of sources is counted by what they
 * were compiled to, or because one of them can't be compiled, which only those that import it shall fail for.
 */
async function compile(): Promise<Compiled | undefined> {
  if (process.env['NODE_V8_COVERAGE'] !== undefined) return undefined;
  try {
    return await compileAll();
  } catch (error) {
    console.log(`not all sources can be compiled: ${(error as Error).message}`);
    return undefined;
  }
}

async function runFile(file: string, folder: string | undefined, env: Record<string, string>): Promise<Result> {
  const start = performance.now();
  const from = AS_SOURCES.has(file) ? undefined : folder;
  const path = from === undefined ? join(root, file) : compiledFile(from, file);
  const child = spawn(process.execPath, [...argumentsFor(from), path], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const stopChild = (): void => void child.kill('SIGTERM');
  process.once('exit', stopChild);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill('SIGKILL');
    // A grandchild that holds the pipes open must not keep this from ending.
    child.stdout.destroy();
    child.stderr.destroy();
  }, fileTimeoutMs);
  const code = await new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.once('close', (status, signal) => resolve(status ?? signal));
  });
  clearTimeout(timer);
  process.off('exit', stopChild);

  const counted = readCount(output);
  const count = counted ?? { passed: 0, failed: 0, skipped: 0 };
  const broken = timedOut
    ? `killed after ${fileTimeoutMs} ms`
    : counted === undefined
      ? `ended (${code}) without a count`
      : code !== 0 && count.failed === 0
        ? `ended with ${code}, though no test failed`
        : undefined;
  if (broken !== undefined) count.failed++;
  report(file, count, broken, output, performance.now() - start);
  return { count, broken };
}

/** Prints what a failed file said in full, and of others what was skipped and why. */
function report(file: string, count: Count, broken: string | undefined, output: string, durationMs: number): void {
  const failed = count.failed > 0;
  const why = broken === undefined ? '' : `: ${broken}`;
  console.log(`${failed ? 'FAILED' : 'ok    '} ${file} (${summary(count)}, ${(durationMs / 1000).toFixed(1)} s)${why}`);
  if (failed) console.log(output.trimEnd().replaceAll(/^/gm, '    '));
  // A test that says so while it runs says it behind uvu's dots.
  else for (const [, line] of output.matchAll(/(?:^|• )(SKIPPED .*)/gm)) console.log(`       ${line}`);
}

const files = findFiles(process.argv.slice(2));
const total: Count = { passed: 0, failed: 0, skipped: 0 };
if (files.length === 0) {
  console.log('no test file matches');
  total.failed++;
} else {
  const [compiled, servers] = await Promise.all([compile(), startShared(files.map((file) => join(root, file)))]);
  const env = { ...servers.env, ...(compiled === undefined ? {} : { [COMPILED]: compiled.folder }) };
  const queue = [...files];
  const worker = async (): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const { count } = await runFile(file, compiled?.folder, env);
      total.passed += count.passed;
      total.failed += count.failed;
      total.skipped += count.skipped;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  await Promise.all([servers.stop(), compiled?.remove()]);
}
console.log(summary(total));
process.exitCode = total.failed > 0 ? 1 : 0;
