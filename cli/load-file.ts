/** Finds and reads the file of the configuration. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, extname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type CommandError, usageError } from './exit.ts';
import type { Secrets } from './secrets.ts';

const NAMES = ['ts', 'js', 'mjs', 'json'].map((extension) => `unanimous.config.${extension}`);

/** The configuration in `folder` or the nearest folder above; undefined where there is none. */
export function findFile(folder: string): string | undefined {
  for (let here = folder; ; here = dirname(here)) {
    const found = NAMES.map((name) => join(here, name)).filter(existsSync);
    if (found.length > 1) {
      throw usageError(`one configuration must be there, and in ${here} there are several: ${found.join(', ')}`, [
        'say which one is meant: --config FILE',
      ]);
    }
    if (found.length === 1) return found[0];
    if (dirname(here) === here) return undefined;
  }
}

/** What the file exports. @throws CommandError where it can't be read. */
export async function readConfiguration(path: string, secrets: Secrets): Promise<unknown> {
  if (!existsSync(path)) throw usageError(`there is no file ${path}`);
  if (extname(path) === '.json') return parseJson(path, await readFile(path, 'utf8'));
  if (/^\.[cm]?ts$/.test(extname(path))) await allowTypeScript(path);
  try {
    const { default: exported } = (await import(pathToFileURL(path).href)) as { default?: unknown };
    // Of a module that was compiled to CommonJS.
    const inner = (exported as { default?: unknown; __esModule?: boolean } | undefined)?.__esModule;
    return await (inner === true ? (exported as { default?: unknown }).default : exported);
  } catch (error) {
    throw unreadable(path, error, secrets);
  }
}

function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    // Without the parser's own words, which quote the text, and that may hold a password.
    const position = /position (\d+)/.exec((error as Error).message)?.[1];
    const line = position === undefined ? undefined : text.slice(0, Number(position)).split('\n').length;
    throw usageError(`${path} is not valid JSON${line === undefined ? '' : `: look at line ${line}`}`);
  }
}

/** Node.js reads TypeScript since 22.18; before, tsx of the user's project does. */
async function allowTypeScript(path: string): Promise<void> {
  const { typescript } = process.features as { typescript?: string | false };
  if (typescript !== undefined && typescript !== false) return;
  let tsx: string;
  try {
    tsx = createRequire(pathToFileURL(path)).resolve('tsx');
  } catch {
    return;
  }
  // As node --import tsx does.
  await import(pathToFileURL(tsx).href);
}

function unreadable(path: string, error: unknown, secrets: Secrets): CommandError {
  if ((error as { code?: string }).code === 'ERR_UNKNOWN_FILE_EXTENSION') {
    return usageError(
      `${path} can't be read: Node.js ${process.versions.node} doesn't read TypeScript by itself, and tsx isn't installed there`,
      ['npm install --save-dev tsx, or use Node.js 22.18 or later, or write unanimous.config.mjs or .json'],
    );
  }
  const advice =
    error instanceof SyntaxError && path.endsWith('.js')
      ? [`a module is called ${path.replace(/\.js$/, '.mjs')} where package.json doesn't say "type": "module"`]
      : [];
  return usageError(`${path} can't be loaded: ${secrets.reason(error)}`, advice);
}
