// Builds the package, and the contenders with it, into a folder of this run.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');

/** Builds, and returns the folder, which is removed when this process ends unless it is to be kept. */
export function build(keep: boolean): string {
  // Inside of the package, where the drivers are found.
  mkdirSync(join(root, 'temp'), { recursive: true });
  const folder = mkdtempSync(join(root, 'temp', 'bench-'));
  if (keep) console.log(`built into ${folder}`);
  else process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const { status, stdout } = spawnSync(
    process.execPath,
    [tsc, '-p', join('bench', 'tsconfig.json'), '--outDir', folder],
    {
      cwd: root,
      encoding: 'utf8',
    },
  );
  if (status !== 0) throw new Error(`what is measured must compile:\n${stdout}`);
  return folder;
}
