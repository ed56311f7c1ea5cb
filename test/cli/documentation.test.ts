// Keeps docs/command-line.md true: each command that it shows is run, one after the other, where the same has happened, and what it prints is
// what is shown, but for ids, times, ages and addresses.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { assert, suite } from '../support/suite.ts';
import type { Stopped } from './setup.ts';
import { audit, bank, clear, project, query, stock, world } from './world.ts';

const test = suite('docs/command-line.md', { timeoutMs: 120_000 });
const page = readFileSync(join(import.meta.dirname, '../../docs/command-line.md'), 'utf8');

/** What is shown: commands, each with what it prints. */
const shown = [...page.matchAll(/^```console\n(.*?)^```$/gms)].flatMap(([, block]) =>
  block!
    .split(/^\$ /m)
    .slice(1)
    .map((text) => {
      const [command, ...output] = text.split('\n');
      return { command: command!, output: output.join('\n') };
    }),
);

const processes: Stopped[] = [];
let deployment: Awaited<ReturnType<typeof world>>;
let areStored = false;
test.after(async () => {
  await Promise.all(processes.map((each) => each.kill()));
  await clear();
});

/** A text for which another one is shown: ids, addresses and names of the machine. */
const replaced = new Map<string, string>();

test.before(async () => {
  deployment = await world({ bank, audit, stock });
  const { silence, start, store } = deployment;
  // As it is in the page: two that die, one of them behind its decision, and one that is alive.
  const first = await start('decided', { node: 'web1', resources: { bank, stock } });
  const second = await start('undecided', { node: 'web2', resources: { bank, stock } });
  const third = await start('undecided', { node: 'web3', resources: { bank, audit } });
  processes.push(third);
  for (const process of [first, second]) {
    await process.kill();
    await silence(process.gid);
  }
  const ids = [...new Set(page.match(/shop:[0-9a-f]{10}:[0-9a-f]{20}:\w+/g))];
  for (const [index, { gid }] of [first, second, third].entries()) replaced.set(gid, ids[index]!);
  // The identity of the store, and the incarnations.
  for (const [real, doc] of new Map(replaced)) {
    for (const part of [1, 2]) replaced.set(real.split(':')[part]!, doc.split(':')[part]!);
  }
  replaced.set(store, 'postgres://app@db1:5432/shop').set(bank, 'postgres://app@db1:5432/bank');
  replaced.set(audit, 'postgres://app@db1:5432/audit').set(stock, 'mysql://app@db2:3306/stock');
  replaced.set(join(project.folder, 'unanimous.config.json'), '/srv/shop/unanimous.config.json');
});

/** Without what differs each time, and without the widths of columns, which follow from that. */
function normal(text: string): string {
  let same = text;
  for (const [real, doc] of replaced) same = same.replaceAll(real, doc);
  const lines = same
    .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ/g, 'TIME')
    .replaceAll(/\d+ (ms|s|min|h)\b/g, 'AGE')
    .replaceAll(/\d+ of \d+ used/g, 'N of M used')
    .replaceAll(/\bby \S+@[\w.-]+/g, 'by USER')
    .replaceAll(/your name: .*/g, 'your name: USER')
    .replaceAll(/ {2,}/g, '  ')
    .trimEnd()
    .split('\n');
  // What is done at all resources at once is told in whichever order it is done.
  const done = /^(rolled back|committed) \w+$/;
  const sorted = lines.filter((line) => done.test(line)).sort();
  return lines.map((line) => (done.test(line) ? sorted.shift()! : line)).join('\n');
}

test('it shows these, in an order in which each finds what the one before has left', () => {
  const names = shown.map(({ command }) => command.split(' ')[2]);
  assert.equal(names, ['list', 'recover', 'status', 'abort', 'abort', 'show', 'outbox', 'outbox', 'outbox', '--help']);
});

/** As it is where the page comes to the outbox: a mail server that was away, and an address that there isn't. */
async function storeMessages(): Promise<void> {
  const [first, second] = [...replaced.keys()] as [string, string];
  await query(
    deployment.store,
    `insert into unanimous_outbox (gid, seq, target, payload, attempts, dead, error, next_at, created_at) values
      ('${first}', 1, 'mail', '{}', 20, true, 'Message failed: 550 no such user', now(), now() - interval '3 hours'),
      ('${second}', 1, 'cache', '{}', 4, false, 'connect ECONNREFUSED 10.0.0.7:6379', now() + interval '1 hour', now() - interval '2 minutes')`,
  );
}

for (const { command, output } of shown) {
  test(command, async () => {
    if (command.endsWith('outbox list') && !areStored) {
      areStored = true;
      await storeMessages();
    }
    let args = command.replace(/^npx unanimous /, '');
    for (const [real, doc] of replaced) args = args.replaceAll(doc, real);
    const { out, err } = await project.run(...args.split(' '));
    assert.is(normal(out + err), normal(output));
  });
}

test('it names every exit code, and every key of the JSON of status', async () => {
  const help = shown.find(({ command }) => command.endsWith('--help'))!.output;
  for (const [, code] of help.matchAll(/^ {2}(\d) {2}/gm)) assert.match(page, new RegExp(`^\\| ${code} +\\| `, 'm'));
  const keys = (value: unknown): string[] => {
    if (typeof value !== 'object' || value === null) return [];
    const own = Array.isArray(value) ? [] : Object.keys(value);
    return own.concat(Object.values(value).flatMap(keys));
  };
  const runs = [['status'], ['list'], ['show', [...replaced.keys()][2]!], ['outbox', 'list'], ['recover']];
  for (const args of runs) {
    const { json } = await project.run(...args, '--json');
    const missing = keys(json).filter((key) => !page.includes(`\`${key}\``));
    assert.equal(missing, [], args[0]);
  }
});
