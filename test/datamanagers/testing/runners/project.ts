// A project that uses this package as it is published, compiled, with the test files of examples/testing and of this folder.
import { spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../../../..');
const FOLDERS = ['examples/testing', 'test/datamanagers/testing/runners'];
const COMMAND_TIMEOUT_MS = 100_000;

/** What a runner could take for tests of its own. */
async function removeSources(folder: string): Promise<void> {
  for (const name of await readdir(folder)) if (!name.endsWith('.js')) await rm(join(folder, name));
}

export interface Ended {
  readonly code: number | NodeJS.Signals | null;
  readonly output: string;
  readonly errors: string;
}

export class Project {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async make(): Promise<Project> {
    // Inside the checkout, so that drivers and runners are found; its name tells others to leave it alone.
    const folder = await mkdtemp(join(root, 'test/datamanagers/testing/.fixtures-'));
    const project = new Project(folder);
    const installed = join(folder, 'node_modules/unanimous');
    await mkdir(installed, { recursive: true });
    await cp(join(root, 'package.json'), join(installed, 'package.json'));
    for (const path of FOLDERS) await cp(join(root, path), join(folder, path), { recursive: true });
    await writeFile(join(folder, 'package.json'), JSON.stringify({ type: 'module', private: true }));
    const config = {
      extends: join(root, 'tsconfig.json'),
      compilerOptions: { noEmit: false, noCheck: true, outDir: '.', rootDir: '.', paths: {} },
      include: FOLDERS,
      exclude: ['**/project.ts', '**/*.test.ts'],
    };
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config));
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    const built = ['--outDir', join(installed, 'dist'), '--noCheck', '--declaration', 'false', '--sourceMap', 'false'];
    // What is wrong with the sources, other stages say.
    await project.node([tsc, '-p', join(root, 'tsconfig.build.json'), ...built, '--inlineSources', 'false']);
    await project.node([tsc, '-p', folder]);
    for (const path of FOLDERS) await removeSources(join(folder, path));
    return project;
  }

  /** Runs Node.js in the project's folder. */
  async node(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
    // What a runner above this one has set is not for this one.
    const { NODE_OPTIONS: _options, NODE_TEST_CONTEXT: _context, ...inherited } = process.env;
    const child = spawn(process.execPath, args, {
      cwd: this.folder,
      env: { ...inherited, CI: 'true', NO_COLOR: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: COMMAND_TIMEOUT_MS,
      killSignal: 'SIGKILL',
    });
    let output = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk));
    const code = await new Promise<Ended['code']>((resolve) => {
      child.once('close', (status, signal) => resolve(status ?? signal));
    });
    return { code, output, errors };
  }

  /** The path of a program of an installed package. */
  program(path: string): string {
    return join(root, 'node_modules', path);
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }
}
