// Stryker's way to run the tests that need no server: all test files are bundled once and loaded into a process, and for each mutant the tests
// that reach it run there until one fails, those first that have found the most mutants before.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { type Answer, hooksOf, loadingOf, type Outcome, type Request } from './messages.ts';
import {
  type DryRunResult,
  type Hits,
  type MutantCoverage,
  type MutantRunOptions,
  type MutantRunResult,
  testResult,
  type TestRunner,
  testRunnerPlugin,
} from './stryker.ts';
import { type Reply, startWorker, type Worker } from './worker.ts';

const mutated = 'coordinator';
const folders = [
  'test/coordinator',
  'test/datamanagers/callable',
  'test/datamanagers/memory',
  'test/datamanagers/testing',
];
/** Counts what is freed, copies the sources, starts processes, or reads the documentation. */
const left = ['leaks', 'copies', 'model', 'mutants', 'rules'].map((name) => `/${name}.test.ts`);

class WarmProcesses implements TestRunner {
  /** The copy of the project that Stryker has made and instrumented: its processes run there. */
  readonly #root = process.cwd();
  readonly #files = findFiles(this.#root);
  /** How many mutants a test has found. */
  readonly #found = new Map<string, number>();
  /** How long a test takes without a mutant, in milliseconds. */
  readonly #taken = new Map<string, number>();
  #worker: Worker | undefined;

  capabilities(): { reloadEnvironment: boolean } {
    return { reloadEnvironment: true };
  }

  async init(): Promise<void> {
    if (existsSync(join(this.#root, '.git')))
      throw new Error('this writes next to the sources, and needs a copy of them');
    await bundle(this.#root, ['test/mutation/process.ts', ...sources(this.#root), ...this.#files]);
  }

  async dryRun(): Promise<DryRunResult> {
    const { answer, timedOut, output } = await this.#askOnce({ bail: false });
    if (timedOut) return { status: 'timeout' };
    if (answer === undefined || answer.broken !== undefined) {
      return { status: 'error', errorMessage: answer?.broken ?? `the process has ended\n${output}` };
    }
    for (const { id, ms } of answer.tests) this.#taken.set(id, ms);
    const failed = answer.tests.flatMap(({ id, failure }) => (failure === undefined ? [] : [id]));
    // On a busy machine a test may miss its time once.
    const again = failed.length === 0 ? undefined : await this.#askOnce({ bail: false, tests: failed });
    const failures = new Map(again?.answer?.tests.map(({ id, failure }) => [id, failure]));
    return {
      status: 'complete',
      tests: answer.tests.map((test) => testResult(test, failures.has(test.id) ? failures.get(test.id) : test.failure)),
      mutantCoverage: attributed(answer),
    };
  }

  async mutantRun(options: MutantRunOptions): Promise<MutantRunResult> {
    const { activeMutant, testFilter, hitLimit, mutantActivation } = options;
    const mutant = activeMutant.id;
    const request: Request = {
      bail: true,
      mutant,
      ...(testFilter === undefined ? {} : { tests: this.#bestFirst(testFilter) }),
      ...(hitLimit === undefined ? {} : { hitLimit }),
    };
    const isStatic = mutantActivation === 'static';
    if (isStatic) this.#discard();
    const worker = (this.#worker ??= isStatic ? this.#start(mutant) : this.#start());
    const isFresh = worker.served === 0;
    let reply = await worker.ask(request);
    // Something may be left of an earlier mutant: what was found counts only if the same test passes without this one, or nothing ran before.
    const { answer, timedOut } = reply;
    const hangs = timedOut || answer?.hangs === true;
    const isDoubtful = !hangs && (answer === undefined || answer.failsWithout || answer.broken !== undefined);
    if (isDoubtful && !isFresh) {
      this.#discard();
      reply = await (this.#worker = this.#start()).ask(request);
    }
    if (hangs || isDoubtful || isStatic) this.#discard();
    return this.#judge(reply, hitLimit);
  }

  dispose(): Promise<void> {
    this.#discard();
    return Promise.resolve();
  }

  #judge({ answer, timedOut, output }: Reply, hitLimit: number | undefined): MutantRunResult {
    const endless = hitLimit !== undefined && (answer?.hits ?? 0) > hitLimit;
    if (timedOut || endless || answer?.hangs === true) return { status: 'timeout' };
    const nrOfTests = answer?.tests.length ?? 0;
    const failed = answer?.tests.find(({ failure }) => failure !== undefined);
    if (failed !== undefined) {
      this.#found.set(failed.id, (this.#found.get(failed.id) ?? 0) + 1);
      return { status: 'killed', killedBy: [failed.id], failureMessage: failed.failure!, nrOfTests };
    }
    if (answer !== undefined && answer.broken === undefined) return { status: 'survived', nrOfTests };
    // A process that breaks, or fails outside of its tests, is no single test's finding.
    const failureMessage = answer?.broken ?? `the process has ended: ${output}`;
    return { status: 'killed', killedBy: [], failureMessage, nrOfTests };
  }

  #start(mutant?: string): Worker {
    const inBundle = (name: string): string => bundleOf(this.#root, name);
    return startWorker(inBundle('test/mutation/process.ts'), this.#root, {
      sources: sources(this.#root).map(inBundle),
      files: this.#files.map((name) => ({ name, bundle: inBundle(name) })),
      ...(mutant === undefined ? {} : { mutant }),
    });
  }

  async #askOnce(request: Request): Promise<Reply> {
    const worker = this.#start();
    const reply = await worker.ask(request);
    worker.stop();
    return reply;
  }

  #discard(): void {
    this.#worker?.stop();
    this.#worker = undefined;
  }

  /** Those that have found the most, then those that take the least time. */
  #bestFirst(ids: readonly string[]): string[] {
    const found = (id: string): number => this.#found.get(id) ?? 0;
    const taken = (id: string): number => this.#taken.get(id) ?? 0;
    return ids.toSorted((a, b) => found(b) - found(a) || taken(a) - taken(b));
  }
}

/** The test files that need no server, as this takes thousands of runs. */
function findFiles(root: string): string[] {
  return folders
    .flatMap((folder) => readdirSync(join(root, folder)).map((name) => `${folder}/${name}`))
    .filter((file) => file.endsWith('.test.ts') && !left.some((end) => file.endsWith(end)))
    .filter((file) => !readFileSync(join(root, file), 'utf8').includes('support/servers.ts'))
    .toSorted();
}

function sources(root: string): string[] {
  return readdirSync(join(root, mutated)).flatMap((name) => (name.endsWith('.ts') ? [`${mutated}/${name}`] : []));
}

function bundleOf(root: string, file: string): string {
  return join(root, file.replace(/\.ts$/, '.js'));
}

/** Bundles each module next to its source, which takes a process a fourth of the time to load. */
async function bundle(root: string, entryPoints: readonly string[]): Promise<void> {
  const standIn: Plugin = {
    name: 'a stand-in for uvu',
    setup: ({ onResolve }) => onResolve({ filter: /^uvu$/ }, () => ({ path: join(root, 'test/mutation/uvu.ts') })),
  };
  await build({
    absWorkingDir: root,
    entryPoints: [...entryPoints],
    outdir: root,
    outbase: root,
    chunkNames: 'shared/[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    keepNames: true,
    logLevel: 'error',
    plugins: [standIn],
  });
}

/** Says of each test what it reaches: also by the hooks of its suite, and by what its file does while it is loaded. */
function attributed({ coverage, tests }: Answer): MutantCoverage {
  const { static: always, perTest } = coverage ?? { static: {}, perTest: {} };
  const of = ({ id, file, suite }: Outcome): Hits => {
    const sum: Hits = {};
    for (const part of [id, hooksOf(file, suite), loadingOf(file)]) {
      for (const [mutant, hits] of Object.entries(perTest[part] ?? {})) sum[mutant] = (sum[mutant] ?? 0) + hits;
    }
    return sum;
  };
  return { static: always, perTest: Object.fromEntries(tests.map((test) => [test.id, of(test)])) };
}

export const strykerPlugins = [testRunnerPlugin('warm-processes', WarmProcesses)];
