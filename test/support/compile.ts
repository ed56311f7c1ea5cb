// Makes JavaScript of sources. Of all of them once for a whole run of the tests: module by module, so that each is loaded as its source would be.
// Of a program with mistakes in it: one file. In both `import.meta` goes on to mean the source, beside which the data of tests is, and the programs
// that they start.
import { readFileSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type BuildOptions, type Plugin, build, stop } from 'esbuild';
import { startWatchdog } from '../../examples/support/watchdog.ts';
import { COMPILED } from './program.ts';

const root = join(import.meta.dirname, '../..');
/** All that tests import or start. */
const FOLDERS = ['coordinator', 'datamanagers', 'middleware', 'cli', 'examples', 'test'];

/** A change of one source. */
export interface Change {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const OPTIONS = {
  bundle: true,
  format: 'esm',
  platform: 'node',
  // A function may be told apart by its name.
  keepNames: true,
  target: `node${process.versions.node}`,
  tsconfig: join(root, 'tsconfig.json'),
  logLevel: 'silent',
} as const satisfies BuildOptions;

/** A folder with all sources as JavaScript. */
export type Compiled = { readonly folder: string; remove(): Promise<void> };

/** Compiles all sources; the folder is removed when this process ends, in whichever way. */
export async function compileAll(): Promise<Compiled> {
  const folder = await openFolder(tmpdir());
  const watchdog = startWatchdog(folder);
  try {
    await build({ ...OPTIONS, ...moduleByModule(folder), entryPoints: FOLDERS.flatMap(sourcesIn) });
  } catch (error) {
    await watchdog.finish();
    throw error;
  } finally {
    // The compiler would keep its memory until the last test has ended.
    await stop();
  }
  return { folder, remove: () => watchdog.finish() };
}

/** Compiles sources that were written while tests run, to where those of the run are; where there are none, each is compiled when it is loaded. */
export async function compileToo(files: readonly string[], tsconfig: string): Promise<void> {
  const folder = process.env[COMPILED];
  if (folder !== undefined) await build({ ...OPTIONS, ...moduleByModule(folder), entryPoints: [...files], tsconfig });
}

/** Compiles a program with changes of its sources, and removes it when it was used. */
export async function withChanges<T>(
  main: string,
  changes: readonly Change[],
  use: (file: string) => Promise<T>,
): Promise<T> {
  const folder = await openFolder(process.env[COMPILED] ?? tmpdir());
  try {
    const file = join(folder, 'main.js');
    await build({
      ...OPTIONS,
      entryPoints: [join(root, main)],
      outfile: file,
      packages: 'external',
      plugins: [sources(changes)],
    });
    return await use(file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A folder for modules, which find the packages there that the sources find. */
async function openFolder(parent: string): Promise<string> {
  // A module has only one name: that without symbolic links.
  const folder = await mkdtemp(join(realpathSync(parent), 'unanimous-compiled-'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  return folder;
}

function sourcesIn(folder: string): string[] {
  return (
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      // What tests write while they run is in folders whose names begin with a dot.
      .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts') && !/(^|[/\\])\./.test(name))
      .map((name) => join(root, folder, name))
  );
}

/** Makes a module of each source. */
function moduleByModule(outdir: string): BuildOptions {
  // Of the maps, only where a line comes from: whoever reads a stack has the sources.
  const maps = { sourcemap: 'linked', sourcesContent: false } as const;
  return { outdir, outbase: root, ...maps, plugins: [importsAsTheyAre(), sources([])] };
}

/** Leaves every import where it is, as one of a module that is compiled too, or of a package. */
function importsAsTheyAre(): Plugin {
  return {
    name: 'module by module',
    setup({ onResolve, resolve }) {
      onResolve({ filter: /./ }, async ({ kind, path, importer, resolveDir, pluginData }) => {
        if (kind === 'entry-point' || pluginData === importsAsTheyAre) return undefined;
        if (path.startsWith('.')) return { path: path.replace(/\.ts$/, '.js'), external: true };
        if (!path.startsWith('unanimous')) return { path, external: true };
        // The public names, which tsconfig.json says the sources of.
        const found = await resolve(path, { kind, importer, resolveDir, pluginData: importsAsTheyAre });
        const from = relative(dirname(importer), found.path).replace(/\.ts$/, '.js');
        return { path: from.startsWith('.') ? from : `./${from}`, external: true };
      });
    },
  };
}

/** Reads sources with what is to be changed in them. @throws where a change isn't to be made any more. */
function sources(changes: readonly Change[]): Plugin {
  return {
    name: 'sources',
    setup({ onLoad, onEnd }) {
      const left = new Set(changes);
      onLoad({ filter: /\.ts$/ }, ({ path }) => {
        let contents = readFileSync(path, 'utf8');
        for (const change of changes) {
          if (join(root, change.file) !== path) continue;
          const changed = contents.replace(change.from, () => change.to);
          if (changed !== contents) left.delete(change);
          contents = changed;
        }
        return { contents: withMeta(contents, path), loader: 'ts' };
      });
      onEnd(() => ({
        errors: [...left].map(({ file, from }) => ({ text: `${file} has no longer: ${from}` })),
      }));
    },
  };
}

/** What is of the source is written into it. */
function withMeta(contents: string, path: string): string {
  const meta = { url: pathToFileURL(path).href, filename: path, dirname: dirname(path) };
  return contents.replaceAll(/\bimport\.meta\.(url|filename|dirname)\b/g, (_whole, name: keyof typeof meta) =>
    JSON.stringify(meta[name]),
  );
}
