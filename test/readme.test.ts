// Runs every example of README.md and docs/ from source, as its reader would: a module of its own, on real databases,
// whose addresses are in BANK_URL and AUDIT_URL. test/readme/blocks.ts says what an example may ask for.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import pg from 'pg';
import { compileToo } from './support/compile.ts';
import { NODE_ARGUMENTS, program } from './support/program.ts';
import { findBlocks, type Block } from './readme/blocks.ts';
import { startSetup, type Started } from './readme/setups.ts';
import { postgres } from './support/servers.ts';
import { assert, suite } from './support/suite.ts';

const root = join(import.meta.dirname, '..');
const blockTimeoutMs = 20_000;
const test = suite('readme', { timeoutMs: 60_000 });
const server = await postgres();

// UNANIMOUS_TEST_PAGES=cookbook,locks runs those of some pages, while one writes them.
const wanted = process.env['UNANIMOUS_TEST_PAGES']?.split(',') ?? [''];
const pages = ['README.md', ...listDocs()].filter(
  (page) => existsSync(join(root, page)) && wanted.some((part) => page.includes(part)),
);
const examples = pages.flatMap((page) =>
  findBlocks(readFileSync(join(root, page), 'utf8')).map((block) => {
    const name = `${page.replaceAll(/[/.]/g, '-')}-${block.line}`;
    return { page, block, name };
  }),
);

function listDocs(): string[] {
  if (!existsSync(join(root, 'docs'))) return [];
  return readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md') && !name.endsWith('.api.md'))
    .map((name) => join('docs', name))
    .toSorted();
}

// Inside the checkout, so that imports resolve; its name starts with a dot, so that nothing else takes it for a source.
const LEGACY_CONFIG = 'tsconfig.legacy.json';
let folder: string;
let diagnostics: string;

test.before(async () => {
  await mkdir(join(root, 'test/readme'), { recursive: true });
  folder = await mkdtemp(join(root, 'test/readme/.blocks-'));
  // What README.md shows first, other examples import.
  const shown = ['examples/transfer/transfer.ts', 'examples/order/order.ts', 'examples/testing/accounts.ts'];
  for (const each of shown) await copyFile(join(root, each), join(folder, basename(each)));
  for (const { name, block } of examples) {
    // On the same lines as in its page, for the messages; and with an export, so that each is a module of its own.
    const lines = '\n'.repeat(block.line);
    await writeFile(join(folder, `${name}.ts`), `${lines}${block.code}\nexport {};\n`);
  }
  const groups = [
    { config: 'tsconfig.json', legacy: false },
    { config: LEGACY_CONFIG, legacy: true },
  ];
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  diagnostics = '';
  for (const { config, legacy } of groups) {
    const own = examples.filter(({ block }) => block.legacyDecorators === legacy);
    if (own.length === 0) continue;
    const content = {
      extends: '../../../tsconfig.json',
      compilerOptions: {
        // The declarations of some libraries don't pass the checks that this project's own do.
        noUnusedLocals: false,
        noUnusedParameters: false,
        skipLibCheck: true,
        experimentalDecorators: legacy,
      },
      include: [],
      files: own.map(({ name }) => `${name}.ts`),
    };
    await writeFile(join(folder, config), JSON.stringify(content));
    diagnostics += (await run([tsc, '-p', join(folder, config), '--pretty', 'false'])).output;
    const files = [...own.map(({ name }) => `${name}.ts`), ...shown.map((each) => basename(each))];
    await compileToo(
      files.map((each) => join(folder, each)),
      join(folder, config),
    );
  }
});
test.after(() => rm(folder, { recursive: true, force: true }));
// Here rather than at the end of the process, because dropping many databases takes its time.
test.after(() => server.stop());

test('there is a README, and it has examples', () => {
  if (wanted[0] === '') assert.ok(examples.some(({ page }) => page === 'README.md'));
});

for (const { page, block, name } of examples) {
  test(`${page}, line ${block.line}: type-checks`, () => {
    const own = diagnostics.split('\n').filter((line) => line.includes(`${name}.ts(`));
    assert.is(own.join('\n'), '');
  });
  if (block.typesOnly) continue;
  test(`${page}, line ${block.line}: runs`, () => runBlock(name, block));
}

test('nothing but the examples fails to type-check', () => {
  const others = diagnostics.split('\n').filter((line) => line !== '' && !line.includes('.blocks-'));
  assert.is(others.join('\n'), '');
});

async function runBlock(name: string, block: Block): Promise<void> {
  const [bank, audit] = await Promise.all([server.database('bank'), server.database('audit')]);
  const started: Started[] = [];
  try {
    for (const setup of block.setups) {
      const server = await startSetup(setup);
      if (server !== undefined) {
        started.push(server);
        continue;
      }
      const sql = await readFile(join(root, 'test/readme/setups', `${setup}.sql`), 'utf8');
      await Promise.all([execute(bank, sql), execute(audit, sql)]);
    }
    const env = Object.assign({ BANK_URL: bank, AUDIT_URL: audit }, ...started.map((each) => each.env));
    if (block.legacyDecorators) env.TSX_TSCONFIG_PATH = join(folder, LEGACY_CONFIG);
    const { code, output, errors } = await run([...NODE_ARGUMENTS, program(join(folder, `${name}.ts`))], env);
    assert.is(code, 0, `ended with ${code}\n${output}${errors}`);
    if (block.output !== undefined) assert.is(output.trim(), block.output.trim());
  } finally {
    for (const server of started) await server.stop();
  }
}

async function execute(url: string, sql: string): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

type Run = { readonly code: number | NodeJS.Signals | null; readonly output: string; readonly errors: string };

async function run(args: readonly string[], env: Record<string, string> = {}): Promise<Run> {
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: blockTimeoutMs,
    killSignal: 'SIGKILL',
  });
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk));
  const code = await new Promise<Run['code']>((resolve) => {
    child.once('close', (status, signal) => resolve(status ?? signal));
  });
  return { code, output, errors };
}
