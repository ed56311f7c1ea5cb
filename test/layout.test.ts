// Keeps the directions: who may import whom, and who may ask for the time, for randomness and for timers.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { assert, suite } from './support/suite.ts';

const test = suite('layout');
const root = join(import.meta.dirname, '..');

type Source = { readonly path: string; readonly imports: readonly string[]; readonly code: string };

/** Reads the files below a folder, but for what tests write in hidden ones while they run; relative imports are given as paths from the root. */
function read(folder: string): Source[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !/(^|[/\\])\./.test(name))
    .map((name) => {
      const path = join(folder, name).replaceAll('\\', '/');
      const code = readFileSync(join(root, path), 'utf8').replaceAll(/\/\*[^]*?\*\/|(?<![:'"`])\/\/.*/g, '');
      return { path, code, imports: importsOf(code).map((each) => fromRoot(path, each)) };
    });
}

/** Static, dynamic and re-exporting, of values and of types, in code without comments. */
function importsOf(code: string): string[] {
  const pattern = /^\s*(?:import|export)\b[^'";]*?\bfrom\s*['"]([^'"]+)['"]|\bimport\s*\(?\s*['"]([^'"]+)['"]/gm;
  return [...code.matchAll(pattern)].map((match) => match[1] ?? match[2] ?? '');
}

function fromRoot(path: string, specifier: string): string {
  if (!specifier.startsWith('.')) return specifier;
  return relative(root, join(root, dirname(path), specifier)).replaceAll('\\', '/');
}

/** Fails with every import that is not allowed, so that one run shows them all. */
function allowsOnly(sources: readonly Source[], allowed: (imported: string, source: Source) => boolean): void {
  const wrong = sources.flatMap((source) =>
    source.imports.filter((each) => !allowed(each, source)).map((each) => `${source.path} imports ${each}`),
  );
  assert.equal(wrong, []);
}

const coordinator = read('coordinator');
const dataManagers = read('datamanagers');
const middleware = read('middleware');
const commandLine = read('cli');

test('imports are found in all their forms', () => {
  const code = `import a from 'a'; import 'b';\nimport type { c } from 'c';\nimport {\n  d,\n} from "d";\nexport * from 'e';
    export type { f } from 'f';\nconst g = await import('g');\nconst h = 'from';`;
  assert.equal(importsOf(code), ['a', 'b', 'c', 'd', 'e', 'f', 'g']);
});

test('the coordinator knows nothing but itself and Node; its index alone adds data managers that need no driver', () => {
  allowsOnly(
    coordinator,
    (each, { path }) =>
      /^(node:|coordinator\/)/.test(each) ||
      (path === 'coordinator/index.ts' && /^datamanagers\/(callable|memory)\/index\.ts$/.test(each)),
  );
});

test('a data manager knows the coordinator, what is shared and itself, and no other data manager', () => {
  allowsOnly(dataManagers, (each, { path }) => {
    const own = path.split('/').slice(0, 2).join('/');
    const shared = ['datamanagers/sql/', 'datamanagers/support/'];
    if (isTypedByDriver(path) && each === 'ioredis') return true;
    return ['node:', 'coordinator/', ...shared, `${own}/`, own].some((start) => each.startsWith(start));
  });
});

/** The commands of Redis are typed as the driver types them, which is too much to say again. */
function isTypedByDriver(path: string): boolean {
  return path === 'datamanagers/redis/surface.ts';
}

test('no source imports a driver, and but for the commands of Redis not even its types', () => {
  allowsOnly(
    [...coordinator, ...dataManagers],
    (each, { path }) => /^(node:|coordinator\/|datamanagers\/)/.test(each) || isTypedByDriver(path),
  );
  const typed = dataManagers.filter(({ path }) => isTypedByDriver(path));
  assert.is(typed.length, 1);
  for (const { code } of typed) assert.not.match(code, /^\s*(import|export)(?! type\b)[^;]*\bfrom 'ioredis'/m);
});

/** What a framework brings that has to be there at run time: decorators, observables, OpenTelemetry's global API. */
const loaded: Readonly<Record<string, readonly string[]>> = {
  'middleware/nest.ts': ['@nestjs/common', '@nestjs/core', 'rxjs'],
  'middleware/opentelemetry.ts': ['@opentelemetry/api'],
};

test('middleware knows the coordinator, itself and its own framework, of which it loads no more than it has to', () => {
  assert.ok(middleware.length > 0);
  allowsOnly(middleware, (each, { path, code }) => {
    if (/^(node:|coordinator\/|middleware\/)/.test(each) || (loaded[path] ?? []).includes(each)) return true;
    const own = path.slice('middleware/'.length, -'.ts'.length);
    const isTypeOnly = !new RegExp(`^import(?! type\\b)[^;]*\\bfrom '${each}'`, 'm').test(code);
    return isTypeOnly && (each === own || each.startsWith(`${own}/`));
  });
});

test('the command line knows itself, Node and what everybody can import, and no driver', () => {
  assert.ok(commandLine.length > 0);
  allowsOnly(
    commandLine,
    (each) => /^(node:|cli\/)/.test(each) || /^(coordinator|datamanagers\/(pg|mysql))\/index\.ts$/.test(each),
  );
});

test('nothing but test/support imports uvu', () => {
  const everything = ['coordinator', 'datamanagers', 'middleware', 'cli', 'test', 'examples', 'bench'].filter((each) =>
    readdirSync(root).includes(each),
  );
  // But for tests that show, or try out, what its users do.
  const sources = everything
    .flatMap(read)
    .filter(({ path }) => !path.startsWith('test/support/') && !/\/uvu\.(?:\w+\.)?spec\.ts$/.test(path));
  allowsOnly(sources, (each) => !/^uvu(\/|$)/.test(each));
});

test('the coordinator takes time and randomness from environment.ts alone, so that a simulator can own them', () => {
  const ambient =
    /\b(Date\.now|new Date\(\)|Math\.random|setTimeout|setInterval|setImmediate|randomUUID|randomBytes|performance\.now|hrtime)\b/g;
  const found = coordinator
    .filter(({ path }) => path !== 'coordinator/environment.ts')
    .flatMap(({ path, code }) => [...code.matchAll(ambient)].map((match) => `${path} mentions ${match[0]}`));
  assert.equal(found, []);
});

test('nothing sorts by locale, because an order that decides must be the same everywhere', () => {
  const sources = [...coordinator, ...dataManagers, ...middleware, ...commandLine].filter(({ code }) =>
    code.includes('localeCompare'),
  );
  assert.equal(
    sources.map(({ path }) => path),
    [],
  );
});
