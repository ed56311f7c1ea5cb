// The command as its user has it: the package built and installed in a project beside the drivers, run by Node.js alone. And processes of
// an application that die, or are paused, at the moment that leaves a transaction in doubt.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../cli/run.ts';
import { COMPILED } from '../support/program.ts';
import { assert } from '../support/suite.ts';

const root = join(import.meta.dirname, '../..');

/** How a command ended. */
export type Run = {
  readonly code: number | NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
  /** What was written for scripts. */
  readonly json: any;
};

/** Asserts how a command has ended. */
export function ended(run: Run, code: number): Run {
  assert.is(run.code, code, `${run.out}\n${run.err}`);
  return run;
}

/** A project of a user. */
export class Project {
  readonly folder: string;
  /** The program of {@link Stopped}. */
  readonly application: string;
  readonly #main: string;

  private constructor(folder: string) {
    this.folder = folder;
    this.application = join(folder, 'stopping.mjs');
    this.#main = join(folder, 'node_modules/unanimous/dist/cli/main.js');
  }

  /** Installs the package, built from the sources, with these of its drivers and tools. */
  static async create(packages: readonly string[] = ['pg', 'mysql2']): Promise<Project> {
    const folder = await mkdtemp(join(tmpdir(), 'unanimous-cli-'));
    const installed = join(folder, 'node_modules/unanimous');
    await mkdir(installed, { recursive: true });
    await installDist(join(installed, 'dist'));
    await cp(join(root, 'package.json'), join(installed, 'package.json'));
    await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
    const project = new Project(folder);
    await cp(join(import.meta.dirname, 'stopping.mjs'), project.application);
    for (const each of packages) await project.install(each);
    return project;
  }

  install(name: string): Promise<void> {
    return symlink(join(root, 'node_modules', name), join(this.folder, 'node_modules', name));
  }

  uninstall(name: string): Promise<void> {
    return rm(join(this.folder, 'node_modules', name));
  }

  write(file: string, text: string): Promise<void> {
    return writeFile(join(this.folder, file), text);
  }

  remove(file: string): Promise<void> {
    return rm(join(this.folder, file));
  }

  /** Runs `npx unanimous` with these arguments. */
  run(...args: string[]): Promise<Run> {
    return this.runIn(this.folder, ...args);
  }

  runIn(folder: string, ...args: string[]): Promise<Run> {
    return execute([this.#main, ...args], folder);
  }

  /** What the command says in this process, from the sources: for many runs that differ in nothing but what they are given. */
  async say(...args: string[]): Promise<Run> {
    let out = '';
    let err = '';
    const { folder } = this;
    const code = await run(args, { folder, out: (text) => void (out += text), err: (text) => void (err += text) });
    return asRun(code, out, err);
  }

  async delete(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Where a file of a run finds what the first one has built. */
const built = process.env[COMPILED] === undefined ? undefined : join(process.env[COMPILED], 'dist');

/** Builds the package, once for a whole run of the tests. */
async function installDist(folder: string): Promise<void> {
  if (built !== undefined && existsSync(built)) return cp(built, folder, { recursive: true });
  await build(folder);
  if (built === undefined) return;
  const own = `${built}-${process.pid}`;
  await cp(folder, own, { recursive: true });
  // Another file may have been faster.
  await rename(own, built).catch(() => undefined);
}

async function build(folder: string): Promise<void> {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const args = ['-p', join(root, 'tsconfig.build.json'), '--outDir', folder, '--declaration', 'false'];
  const done = await execute([tsc, ...args, '--isolatedDeclarations', 'false', '--noCheck'], root);
  assert.is(done.code, 0, done.out);
}

/** That of this process, but for what loads TypeScript. */
function environment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _options, ...env } = process.env;
  return env;
}

async function execute(args: readonly string[], cwd: string): Promise<Run> {
  const child = spawn(process.execPath, args, {
    cwd,
    env: environment(),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
    killSignal: 'SIGKILL',
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (out += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (err += chunk));
  const code = await new Promise<Run['code']>((resolve) => {
    child.once('close', (status, signal) => resolve(status ?? signal));
  });
  return asRun(code, out, err);
}

function asRun(code: Run['code'], out: string, err: string): Run {
  return {
    code,
    out,
    err,
    get json() {
      return JSON.parse(out);
    },
  };
}

/** Where a process of the application stops in its transaction: before the decision is written, or behind it. */
export type Stop = 'undecided' | 'decided';

/** What a process of the application works with. */
export type Application = {
  readonly store: string;
  /** Addresses by name. */
  readonly resources: Readonly<Record<string, string>>;
  /** The name of the process. */
  readonly node?: string;
};

/** A process of the application that has stopped in its transaction, and lives. */
export class Stopped {
  readonly gid: string;
  readonly #child: ChildProcess;
  #said = '';

  private constructor(gid: string, child: ChildProcess) {
    this.gid = gid;
    this.#child = child;
    child.stdout!.on('data', (chunk: string) => (this.#said += chunk));
  }

  static async start(project: Project, application: Application, stop: Stop): Promise<Stopped> {
    const child = spawn(process.execPath, [project.application, stop, JSON.stringify(application)], {
      cwd: project.folder,
      env: environment(),
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const gid = await new Promise<string>((resolve, reject) => {
      let said = '';
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
        said += chunk;
        if (said.includes('\n')) resolve(said.split('\n')[0]!);
      });
      child.once('exit', (code) => reject(new Error(`the application ended (${code}): ${said}`)));
    });
    return new Stopped(gid, child);
  }

  async kill(): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await gone;
  }

  pause(): void {
    this.#child.kill('SIGSTOP');
  }

  resume(): void {
    this.#child.kill('SIGCONT');
  }

  /** Lets it go on with its transaction, and resolves with how that ended for it. */
  async goOn(): Promise<string> {
    this.#child.stdin!.write('on\n');
    const outcome = (): string | undefined => /^ended: (.*)$/m.exec(this.#said)?.[1];
    await assert.eventually(() => outcome() !== undefined, 20_000);
    return outcome()!;
  }
}
