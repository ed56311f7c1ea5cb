// Machines that lose each other: what their applications are told comes in bounded time, though no packet says that anything is wrong,
// and nothing is half done once they find each other again.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { program } from '../support/program.ts';
import { orSkip } from '../support/servers/install.ts';
import { assert, suite } from '../support/suite.ts';
import { Application, nodeOn } from './applications.ts';
import { whyNoNetwork } from './network.ts';
import { LEASE_MS, runPartitions } from './partitions.ts';
import { FEW } from './scenarios.ts';
import type { Silence, Told, Word } from './silence.ts';
import { Site } from './site.ts';

const partitions = suite('a partition of the network', { timeoutMs: 120_000 });
const why = whyNoNetwork();
const test = (name: string, body: () => Promise<void>): void =>
  why === undefined ? partitions(name, body) : partitions.skipOnPlatform(why, name);

let site: Site;
if (why === undefined) {
  partitions.before(async () => {
    site = await orSkip(() => Site.open());
  });
  partitions.after(() => site.close());
}

test('leaves nothing half done, and every caller is told, with a typed error where it is not committed', async () => {
  const other = await Application.start(await site.network.add('y'), { urls: site.urls, leaseMs: LEASE_MS });
  try {
    const { outcomes, wrong } = await runPartitions(site, other, FEW);
    assert.equal(wrong, []);
    const errors = outcomes.flatMap(({ ended }) => ended.flatMap(({ error }) => (error === undefined ? [] : [error])));
    assert.equal(
      errors.filter(({ code }) => !code.startsWith('ERR_TXN_')),
      [],
    );
  } finally {
    await other.kill();
  }
});

/** How many rows have been used by such processes. */
let rows = 0;

/** Brings transactions to their points in a process on a machine of its own, loses all that it sends or is sent, and collects what it says. */
async function inSilence(host: string, names: readonly Silence[]): Promise<Record<string, string>> {
  const machine = await site.network.add(host);
  const child = fork(
    program(join(import.meta.dirname, 'silence.ts')),
    [JSON.stringify(site.urls), JSON.stringify(names), String(rows)],
    {
      ...nodeOn(machine),
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    },
  );
  rows += 20;
  const told: Told[] = [];
  const ended = once(child, 'exit');
  child.on('message', (word: Word) => {
    if (word.is === 'told') told.push(word);
    else void site.network.cut(machine, site.hostsOf(['a', 'b', 'c'])).then(() => child.send('silent'));
  });
  try {
    // Where somebody waits for ever, the test isn't settled in its time.
    await ended;
    return Object.fromEntries(told.map(({ what, how }) => [what, how]));
  } finally {
    child.kill('SIGKILL');
  }
}

test('no caller waits for an answer that never comes', async () => {
  const expected = {
    'a statement of PostgreSQL with a deadline': 'ERR_TXN_TIMEOUT',
    'a statement of MariaDB with a deadline': 'ERR_TXN_TIMEOUT',
    'the first statement': 'ERR_TXN_ACQUIRE_TIMEOUT',
    'a rollback': 'on purpose',
    'a commit of PostgreSQL': 'ERR_TXN_OUTCOME_UNKNOWN',
    'a commit of MariaDB': 'ERR_TXN_OUTCOME_UNKNOWN',
    'a commit of all': 'ERR_TXN_CONNECTION_LOST',
    'a commit of one that was written and MariaDB, which was read': 'ERR_TXN_CONNECTION_LOST',
  } as const;
  assert.equal(await inSilence('silent', Object.keys(expected) as (keyof typeof expected)[]), expected);
});

/** Each by itself: where one waits for ever, the others are told all the same. */
const alone = {
  'a commit of one that was written and PostgreSQL, which was read': 'ERR_TXN_CONNECTION_LOST',
  'a statement with a deadline, when another one has failed': 'on purpose',
} as const;
for (const [name, how] of Object.entries(alone)) {
  test(`no caller waits for ever for ${name}`, async () => {
    assert.equal(await inSilence(name.slice(0, 30), [name as keyof typeof alone]), { [name]: how });
  });
}
