// Protects whoever installs the package from what comes along with it: nothing is run while it is installed, nothing else is installed with it,
// and what it is developed with is known by its hash.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { assert, suite } from '../support/suite.ts';

const test = suite('the package');
const root = join(import.meta.dirname, '../..');
const read = (path: string): any => JSON.parse(readFileSync(join(root, path), 'utf8'));
const manifest = read('package.json');

test('it has no dependencies, and peers only that their users have chosen', () => {
  assert.equal(
    [manifest.dependencies, manifest.optionalDependencies, manifest.bundleDependencies],
    [undefined, undefined, undefined],
  );
  for (const peer of Object.keys(manifest.peerDependencies))
    assert.is(manifest.peerDependenciesMeta[peer]?.optional, true, peer);
});

test('nothing is run when it is installed', () => {
  for (const script of ['preinstall', 'install', 'postinstall', 'prepare', 'prepublish'])
    assert.is(manifest.scripts[script], undefined, script);
  assert.not.ok(readdirSync(root).includes('binding.gyp'));
});

test('what it is developed with is locked by hash, and names no other registry', () => {
  const packages = Object.entries<any>(read('package-lock.json').packages).filter(([path]) => path !== '');
  assert.ok(packages.length > 100);
  for (const [path, { integrity, resolved }] of packages) {
    assert.match(integrity, /^sha512-/, path);
    assert.ok(resolved === undefined || resolved.startsWith('https://registry.npmjs.org/'), path);
  }
});

test('no source evaluates text, starts a process or loads what somebody else has named, but for the configuration of the command line', () => {
  const forbidden = /\beval\s*\(|new Function\b|child_process|node:vm|createRequire|\bimport\((?!'|")/;
  const allowed = new Set(['cli/addresses.ts', 'cli/load-file.ts', 'cli/run.ts']);
  const found = ['coordinator', 'datamanagers', 'middleware', 'cli'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts') && !name.includes('.fixtures-'))
      .map((name) => join(folder, name))
      .filter((path) =>
        forbidden.test(readFileSync(join(root, path), 'utf8').replaceAll(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, '')),
      ),
  );
  assert.equal(
    found.filter((path) => !allowed.has(path)),
    [],
  );
});
