// Which branches of the sources the tests take: `npm run coverage`, and in parts `npm run coverage -- --add <part of a path> ...`, which adds to
// what was run before. Fails where the coordinator's are fewer than they have been.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** Of the branches of `coordinator/`, in percent. */
const REACHED = 98.5;

const root = join(import.meta.dirname, '..');
const folder = join(root, 'coverage');
/** What Node writes: one file for each process, with everything that it has loaded. */
const raw = join(folder, 'raw');
/** What of that is about our sources. */
const processes = join(folder, 'processes');

type SourceMap = {
  readonly lineLengths: readonly number[];
  readonly data: { readonly mappings: string; readonly sourcesContent?: readonly string[] } | null;
};
type ProcessCoverage = {
  result: { readonly url: string }[];
  'source-map-cache'?: Record<string, SourceMap>;
};

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): number {
  return spawnSync(command, args, { cwd: root, env, stdio: 'inherit' }).status ?? 1;
}

/** What a source was compiled to: offsets count in that. */
function compiled(coverage: ProcessCoverage, url: string): string {
  const map = coverage['source-map-cache']?.[url];
  return JSON.stringify([map?.lineLengths, map?.data?.mappings]);
}

/** Whether it was compiled from the source as it is now. */
function isCurrent(coverage: ProcessCoverage, url: string): boolean {
  const path = fileURLToPath(url);
  return (
    existsSync(path) && coverage['source-map-cache']?.[url]?.data?.sourcesContent?.[0] === readFileSync(path, 'utf8')
  );
}

/** Keeps what is about our sources: of a file of Node's that is a tenth or less. */
function pick(): void {
  const ours = ['coordinator', 'datamanagers', 'middleware', 'cli'].map(
    (name) => pathToFileURL(join(root, name, '/')).href,
  );
  mkdirSync(processes, { recursive: true });
  for (const name of readdirSync(raw)) {
    const coverage = JSON.parse(readFileSync(join(raw, name), 'utf8')) as ProcessCoverage;
    const result = coverage.result.filter(
      ({ url }) => url.endsWith('.ts') && ours.some((start) => url.startsWith(start)),
    );
    if (result.length > 0) write(join(processes, name), coverage, result);
  }
  rmSync(raw, { recursive: true });
}

function write(path: string, coverage: ProcessCoverage, result: ProcessCoverage['result']): void {
  const maps = Object.fromEntries(
    result.flatMap(({ url }) => Object.entries(coverage['source-map-cache'] ?? {}).filter(([key]) => key === url)),
  );
  writeFileSync(path, JSON.stringify({ ...coverage, result, 'source-map-cache': maps }));
}

/**
 * Leaves out what can't be added up: another compiler (that of another test runner) or a source that was changed between two parts gives the
 * same places other numbers. What most processes have compiled stays.
 */
function leaveOutOthers(): void {
  const all = readdirSync(processes).map((name) => join(processes, name));
  const read = (path: string): ProcessCoverage => JSON.parse(readFileSync(path, 'utf8')) as ProcessCoverage;
  const counts = new Map<string, Map<string, number>>();
  for (const path of all) {
    const coverage = read(path);
    for (const { url } of coverage.result.filter((each) => isCurrent(coverage, each.url))) {
      const forms = counts.get(url) ?? new Map<string, number>();
      counts.set(url, forms);
      const form = compiled(coverage, url);
      forms.set(form, (forms.get(form) ?? 0) + 1);
    }
  }
  const usual = new Map([...counts].map(([url, forms]) => [url, [...forms].toSorted((a, b) => b[1] - a[1])[0]![0]]));
  let leftOut = 0;
  for (const path of all) {
    const coverage = read(path);
    const result = coverage.result.filter(({ url }) => compiled(coverage, url) === usual.get(url));
    leftOut += coverage.result.length - result.length;
    if (result.length === 0) rmSync(path);
    else if (result.length < coverage.result.length) write(path, coverage, result);
  }
  if (leftOut > 0)
    console.log(`left out, as it doesn't fit the sources: ${leftOut} times a source, of ${all.length} processes`);
}

const [first, ...rest] = process.argv.slice(2);
const isAdded = first === '--add';
if (!isAdded) rmSync(folder, { recursive: true, force: true });
mkdirSync(raw, { recursive: true });
const filters = isAdded || first === undefined ? rest : [first, ...rest];
const env = { ...process.env, NODE_V8_COVERAGE: raw };
const failed = run(process.execPath, ['--import', 'tsx', 'test/run.ts', ...filters], env) !== 0;
pick();
leaveOutOthers();
const c8 = join(root, 'node_modules/c8/bin/c8.js');
run(process.execPath, [c8, 'report']);
// Part of the tests takes part of the branches.
const isWhole = isAdded || filters.length === 0;
const limits = ['--include', 'coordinator/**', '--branches', String(REACHED), '--lines', '0'];
const below = isWhole && run(process.execPath, [c8, 'check-coverage', ...limits]) !== 0;
if (failed) console.log('some tests have failed, so this is not all that they take');
process.exitCode = failed || below ? 1 : 0;
