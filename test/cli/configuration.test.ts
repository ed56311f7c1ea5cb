// Protects whoever sets npx unanimous up, or mistypes at night: what is wrong is named with what to do about it, exit codes are those that are
// documented, drivers are those of the user's project, and no password is ever printed.
import { spawnSync } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { mariadb, postgres, startPostgres } from '../support/servers.ts';
import { assert, suite } from '../support/suite.ts';
import { Project, type Run, Stopped, ended } from './setup.ts';

const test = suite('npx unanimous, configuration', { timeoutMs: 120_000 });

const server = await postgres();
const [store, bank] = [await server.database('store'), await server.database('bank')];
const maria = await mariadb();
const stock = await maria.database('stock');
const project = await Project.create();
test.after(() => project.delete());
test.after(() => Promise.all([server.stop(), maria.stop()]));

const json = (contents: unknown): Promise<void> => project.write('unanimous.config.json', JSON.stringify(contents));

/** Runs with a configuration of this name and text, which is removed afterwards. */
async function withFile<T>(file: string, text: string, use: () => Promise<T>): Promise<T> {
  await project.write(file, text);
  try {
    return await use();
  } finally {
    await project.remove(file);
  }
}

test('help is there for all and for each command, and needs no configuration', async () => {
  const general = ended(await project.run('--help'), 0).out;
  const commands = [
    ...general.split('Options:')[0]!.matchAll(/^ {2}(\w+(?: [a-z]+)?)(?: GID| MESSAGE…)?(?: \[--force\])? {2}/gm),
  ].map(([, name]) => name!);
  const outbox = ['list', 'retry', 'drop'].map((name) => `outbox ${name}`);
  assert.equal(commands, ['init', 'status', 'list', 'show', 'recover', 'commit', 'abort', 'forget', ...outbox]);
  assert.is(ended(await project.run('list', '--help'), 0).out, (await project.say('list', '--help')).out);
  for (const name of commands) {
    const help = await project.say(...name.split(' '), '--help');
    ended(help, 0);
    assert.match(help.out, new RegExp(`^npx unanimous ${name}[^\n]*\n\n`));
    assert.match(help.out, '4  refused');
    const tooLong = help.out
      .split('\n')
      .slice(1)
      .filter((line) => line.length > 120);
    assert.equal(tooLong, []);
  }
  const { version } = JSON.parse(
    await readFile(join(project.folder, 'node_modules/unanimous/package.json'), 'utf8'),
  ) as {
    version: string;
  };
  assert.is(ended(await project.run('--version'), 0).out, `${version}\n`);
});

test('the package offers the command, and whoever reads no further does it no harm', async () => {
  const folder = join(project.folder, 'node_modules/unanimous');
  const { bin } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as { bin: { unanimous: string } };
  const main = join(folder, bin.unanimous);
  assert.match(await readFile(main, 'utf8'), /^#!\/usr\/bin\/env node\n/);
  const piped = spawnSync('sh', ['-c', `"$0" "$1" --help | head -n 1; exit $?`, process.execPath, main], {
    encoding: 'utf8',
  });
  assert.equal([piped.status, piped.stderr], [0, '']);
});

test('a wrong command line says what is right, and does nothing', async () => {
  const wrong: [string[], string][] = [
    [[], 'a command is needed'],
    [['outbox'], 'there is no command outbox; there are init, status'],
    [['outbox', 'lst'], 'there is no command outbox lst; there are init, status'],
    [['outbox', 'list', 'x'], 'outbox list takes no id, not also x'],
    [['outbox', 'retry'], 'outbox retry needs the ids of messages'],
    [['outbox', 'retry', 'a:b:c:1:1', '--force'], 'outbox retry takes no --force'],
    [['outbox', 'drop', 'a:b:c:1:0'], 'form app:store:incarnation:sequence:number'],
    [['lst'], 'there is no command lst'],
    [['list', '--forse'], "Unknown option '--forse'"],
    [['list', '--force'], 'list takes no --force'],
    [['list', 'x'], 'list takes no id, not also x'],
    [['show'], 'show needs the id of a transaction'],
    [['show', 'a:b:c:1', 'd'], 'show takes one id, not also d'],
    [['list', '--resource', 'bank'], 'the decision store must be known'],
    [['list', '--store', store, '--resource', 'bank'], '--resource takes NAME=URL'],
    [['list', '--store', store], 'the resources must be known'],
    [['list', '--config', 'nowhere.json'], 'there is no file'],
  ];
  const told = (run: Run, message: string): void => {
    ended(run, 2);
    assert.match(run.err, `unanimous: `);
    assert.match(run.err, message);
    assert.is(run.out, '');
  };
  for (const [args, message] of wrong) told(await project.say(...args), message);
  for (const [args, message] of wrong.slice(0, 2)) told(await project.run(...args), message);
  const { error } = ended(await project.run('list', '--json'), 2).json;
  assert.equal(
    [error.kind, error.message],
    ['usage', 'the decision store must be known, and no configuration was found'],
  );
});

test('a wrong configuration says what is right, and where', async () => {
  const wrong: [unknown, string][] = [
    [[], 'must export an object with store'],
    [{ stor: store }, 'has stor; known are store, decisionLog, resources, app and tablePrefix'],
    [{ resources: { bank } }, 'the decision store must be known'],
    [{ store: 5, resources: { bank } }, 'must be an address, a text'],
    [{ store, resources: 'bank' }, 'must be an array of sessions, or addresses by name'],
    [{ store, resources: { bank: 5 } }, 'the resource bank in'],
    [{ store, resources: { 'a b': bank } }, "letters, digits, '_', '.' or '-'"],
    [{ store, resources: { bank }, app: 5 }, 'app in'],
    [{ store, resources: { bank }, tablePrefix: 'Un"' }, 'tablePrefix'],
    [{ store: 'oracle://a/b', resources: { bank } }, 'must begin with postgres://'],
    [{ store, resources: { bank: 'bank' } }, "the address of resource bank can't be read as a URL"],
    [{ store, decisionLog: {}, resources: { bank } }, 'has both a store and a decisionLog'],
    [{ decisionLog: {}, resources: { bank } }, 'what is there has no open'],
  ];
  for (const [contents, message] of wrong) {
    await json(contents);
    assert.match(ended(await project.say('list'), 2).err, message);
  }
  assert.match(ended(await project.run('list'), 2).err, wrong.at(-1)![1]);
  await project.remove('unanimous.config.json');
});

test('options say all that a configuration does, and what they say comes first', async () => {
  const options = [
    '--store',
    store,
    '--resource',
    `bank=${bank}`,
    '--resource',
    `stock=${stock}`,
    '--app',
    'shop',
    '--json',
  ];
  const made = ended(await project.run('init', ...options), 0).json;
  assert.equal([made.app, made.resources.map(({ name }: any) => name)], ['shop', ['bank', 'stock']]);
  await json({ store: 'postgres://127.0.0.1:1/x', resources: { stock: 'mysql://127.0.0.1:1/x' }, app: 'other' });
  const both = ended(await project.run('status', '--config', 'unanimous.config.json', ...options), 0).json;
  assert.equal([both.app, both.store, both.resources.length], ['shop', made.store, 2]);
  const alone = ended(await project.run('status', ...options), 0).json;
  assert.is(alone.store, made.store);
  await project.remove('unanimous.config.json');
  const elsewhere = ended(await project.run('init', ...options, '--table-prefix', 'elsewhere_'), 0).json;
  assert.is.not(elsewhere.store, made.store);
});

test('the configuration is that of the nearest folder above, and one', async () => {
  await json({ store, resources: { bank }, app: 'shop' });
  const below = join(project.folder, 'a/b');
  await mkdir(below, { recursive: true });
  assert.match(ended(await project.runIn(below, 'status'), 0).out, join(project.folder, 'unanimous.config.json'));
  await withFile('unanimous.config.mjs', '', async () => {
    assert.match(ended(await project.run('status'), 2).err, 'there are several');
  });
  await project.remove('unanimous.config.json');
});

const sessions = `
import pgDriver from 'pg';
import { PgDecisionLog, PgSession } from 'unanimous/pg';

const pool = (connectionString) => new pgDriver.Pool({ connectionString });
const config = {
  decisionLog: new PgDecisionLog(new PgSession(pool('${store}'))),
  resources: [new PgSession(pool('${bank}'), { name: 'bank' })],
  app: 'shop',
};
export default config;
// As an application's modules may: the command ends all the same.
setInterval(() => undefined, 1_000);
`;

test('sessions of the application’s own are used as they are', async () => {
  for (const file of ['unanimous.config.js', 'unanimous.config.mjs']) {
    const status = await withFile(file, sessions, () => project.run('status', '--json'));
    const { app, resources, address } = ended(status, 0).json;
    assert.equal(
      [app, address, resources.map((each: any) => [each.name, each.isReachable])],
      ['shop', null, [['bank', true]]],
    );
  }
  const renamed = sessions
    .replace("resources: [new PgSession(pool('", "resources: { ledger: [new PgSession(pool('")
    .replace("'bank' })]", "'bank' })][0] }");
  const refused = await withFile('unanimous.config.mjs', renamed, () => project.run('status'));
  assert.match(ended(refused, 2).err, "must go by its session's own name, 'bank'");
  const twice = sessions.replace('resources: [', "resources: [new PgSession(pool(''), { name: 'bank' }), ");
  assert.match(
    ended(await withFile('unanimous.config.mjs', twice, () => project.run('list')), 2).err,
    "'bank' comes twice",
  );
});

test('TypeScript is read where Node.js or tsx reads it, and else it is said what does', async () => {
  const typed = sessions.replace('(connectionString)', '(connectionString: string): pgDriver.Pool');
  await withFile('unanimous.config.ts', typed, async () => {
    const { typescript } = process.features as { typescript?: string | false };
    if (typescript === undefined || typescript === false) {
      const refused = ended(await project.run('status'), 2).err;
      assert.match(refused, "doesn't read TypeScript by itself, and tsx isn't installed there");
      assert.match(refused, 'npm install --save-dev tsx');
      await project.install('tsx');
    }
    assert.is(ended(await project.run('status', '--json'), 0).json.app, 'shop');
    // Compiled to CommonJS, then.
    await project.write('package.json', '{ "private": true }');
    assert.is(ended(await project.run('status', '--json'), 0).json.app, 'shop');
    await project.write('package.json', '{ "private": true, "type": "module" }');
  });
});

test('a module that can’t be loaded says why, and how a module is to be called', async () => {
  const throws = await withFile('unanimous.config.mjs', "throw new Error('no settings')", () => project.run('list'));
  assert.match(ended(throws, 2).err, /unanimous\.config\.mjs can't be loaded: no settings/);
  const wrong = await withFile('unanimous.config.js', 'export default {', () => project.run('list'));
  assert.match(ended(wrong, 2).err, 'unanimous.config.mjs where package.json');
  const nothing = await withFile('unanimous.config.mjs', 'export const a = 1;', () => project.run('list'));
  assert.match(ended(nothing, 2).err, 'of a module, that is its default export');
});

test('a driver is needed where it is used, and said where it is missing', async () => {
  await json({ store, resources: { bank }, app: 'shop' });
  await project.uninstall('mysql2');
  ended(await project.run('status'), 0);
  const missing = ended(await project.run('status', '--resource', `stock=${stock}`), 2).err;
  assert.match(
    missing,
    /resource stock is at mysql:.*, and the driver mysql2 for that isn't installed in .*\n +npm install mysql2/,
  );
  await project.install('mysql2');
  await project.remove('unanimous.config.json');
});

test('no password is printed, whatever goes wrong', async () => {
  const secret = 's3cr%40t/p4ss'.replace('/', '%2F');
  const hidden = [secret, 's3cr@t/p4ss', 's3cr%40t', 'p4ss'];
  const addressed = (url: string): string => {
    const parsed = new URL(url);
    parsed.username = 'somebody';
    parsed.password = secret;
    return parsed.href;
  };
  const closed = `postgres://somebody:${secret}@127.0.0.1:1/store?sslpassword=${secret}`;
  const cases: [number, unknown][] = [
    [3, { store: closed, resources: { bank } }],
    [3, { store, resources: { bank: closed }, app: 'shop' }],
    [3, { store, resources: { stock: addressed(stock) }, app: 'shop' }],
    [2, { store: `${closed} x`.replace('postgres:', 'oracle:'), resources: { bank } }],
    [2, { store: closed.replace('127.0.0.1:1', '127.0.0.1:port'), resources: { bank } }],
    [2, { [closed]: 1 }],
    [2, { store, resources: { [closed]: bank } }],
    [2, { store, resources: { bank: { name: closed } } }],
  ];
  const check = (run: Run, code: number): void => {
    ended(run, code);
    for (const text of hidden) assert.not.match(run.out + run.err, text);
  };
  for (const [code, contents] of cases) {
    await json(contents);
    check(await project.run('status'), code);
    check(await project.run('status', '--json'), code);
  }
  await project.write('unanimous.config.json', `{ "store": "${closed}", }`);
  const invalid = await project.run('list');
  check(invalid, 2);
  assert.match(invalid.err, 'is not valid JSON');
  await project.remove('unanimous.config.json');
  const thrown = `throw new Error('can not reach ${closed}')`;
  check(await withFile('unanimous.config.mjs', thrown, () => project.run('list')), 2);
  check(await project.run('list', '--store', closed, '--resource', closed), 2);
});

test('a server that can’t be reached is said by name, with why', async () => {
  await json({ store: 'postgres://127.0.0.1:1/store', resources: { bank } });
  for (const command of ['init', 'status', 'list', 'recover']) {
    assert.match(
      ended(await project.run(command), 3).err,
      /the decision store at postgres:\/\/127.0.0.1:1\/store can't be asked: .*ECONNREFUSED/,
    );
  }
  const { error } = ended(await project.run('show', 'shop:a:b:1', '--json'), 3).json;
  assert.is(error.kind, 'unreachable');
  // Where a name has several addresses, the error itself says nothing.
  await json({ store, resources: { bank: 'postgres://localhost:1/x' }, app: 'shop' });
  assert.match(ended(await project.run('init'), 3).out, /bank can't be asked: .*ECONNREFUSED/);
  await project.remove('unanimous.config.json');
});

test('a server without room for what is prepared is said, and one that can’t prepare at all', async () => {
  const narrow = await startPostgres({ settings: { max_prepared_transactions: 1 } });
  const none = await startPostgres({ settings: { max_prepared_transactions: 0 } });
  try {
    const [full, plain] = [await narrow.database('full'), await none.database('plain')];
    await json({ store, resources: { full, plain }, app: 'shop' });
    const init = ended(await project.run('init'), 1).out;
    assert.match(init, 'full is ready');
    assert.match(init, 'plain is not ready: max_prepared_transactions must be above 0');
    assert.match(ended(await project.run('status'), 0).out, "plain can't prepare");
    const pgDriver = (await import('pg')).default;
    for (const url of [full, bank]) {
      const client = new pgDriver.Client(url);
      await client.connect();
      await client.query('create table if not exists moves (id text)');
      await client.end();
    }
    const process = await Stopped.start(project, { store, resources: { bank, full } }, 'undecided');
    const status = ended(await project.run('status'), 1).out;
    assert.match(status, '1 of 1 used');
    assert.match(status, 'full has room for 0 more prepared transactions');
    ended(await project.run('abort', process.gid, '--force', '--resource', `bank=${bank}`), 0);
    await process.goOn();
    await process.kill();
  } finally {
    await Promise.all([narrow.stop(), none.stop()]);
    await project.remove('unanimous.config.json');
  }
});
