// Runs an example as a person would, with a folder for temporary files of its own, so that nobody else's are taken for what it leaves.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');

/** An example that runs. */
export interface Running {
  readonly child: ChildProcess;
  /** What it has said until now. */
  readonly output: () => string;
  readonly ended: Promise<unknown>;
}

/** How long what is to end by itself may take. */
const PATIENCE_MS = 5_000;

export class Example {
  /** Where its servers make their folders. */
  readonly folder: string;
  readonly #main: string;

  constructor(main: string) {
    this.#main = main;
    this.folder = mkdtempSync(join(tmpdir(), 'unanimous-example-'));
    chmodSync(this.folder, 0o755);
  }

  start(): Running {
    const child = spawn(process.execPath, ['--import', 'tsx', join(root, this.#main)], {
      cwd: root,
      env: { ...process.env, TMPDIR: this.folder },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
    return { child, output: () => output, ended: once(child, 'close') };
  }

  /** Interrupts it, as Ctrl-C does, a moment after it has said a text; resolves when it has ended. */
  async interruptAfter(text: string): Promise<Running> {
    const running = this.start();
    running.child.stdout!.on('data', () => {
      if (running.output().includes(text)) setTimeout(() => running.child.kill('SIGINT'), 300);
    });
    await running.ended;
    return running;
  }

  /** The folders and the processes of servers that are left. */
  async leftovers(): Promise<string[]> {
    for (const endMs = Date.now() + PATIENCE_MS; ;) {
      const { stdout } = spawnSync('ps', ['-A', '-o', 'args='], { encoding: 'utf8' });
      const processes = stdout.split('\n').filter((line) => line.includes(this.folder));
      const left = [...readdirSync(this.folder).filter((name) => name.startsWith('unanimous-')), ...processes];
      // Whoever looks after the servers ends when it sees that all are gone.
      if (left.length === 0 || Date.now() > endMs) return left;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
