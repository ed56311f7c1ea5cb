// The network between machines: what is lost is lost without a word, one way or both, and nothing of it outlives its owner.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { NODE_ARGUMENTS, program } from '../support/program.ts';
import { isAlive } from '../support/servers/owner.ts';
import { assert, suite } from '../support/suite.ts';
import { type Host, Network, whyNoNetwork } from './network.ts';

const networks = suite('a network of machines');
const why = whyNoNetwork();
const test = (name: string, body: () => Promise<void>): void =>
  why === undefined ? networks(name, body) : networks.skipOnPlatform(why, name);

const LISTENER = `net.createServer((socket) => socket.on('data', (data) => { console.log(String(data)); socket.write(data); }))
  .listen(7000, '0.0.0.0', () => console.log('listening'));`;
const CALLER = `const socket = net.connect(7000, process.argv[1], () => console.log('connected'));
  socket.on('data', (data) => console.log(String(data)));
  socket.on('error', (error) => console.log(error.code));
  process.stdin.on('data', (data) => socket.write(String(data).trim()));`;

/** A script on a host, and the lines that it has said. */
function script(host: Host, source: string, ...args: string[]) {
  const [enter, ...entering] = host.enter;
  const child = spawn(enter!, [...entering, process.execPath, '-e', source, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const said: string[] = [];
  createInterface(child.stdout).on('line', (line) => said.push(line));
  return { child, said, says: (line: string) => assert.eventually(() => said.includes(line), 20_000) };
}

test('what is lost one way arrives the other way, and again when it is restored', async () => {
  const network = await Network.open();
  const [one, other] = [await network.add('one'), await network.add('other')];
  const listener = script(other, LISTENER);
  await listener.says('listening');
  const caller = script(one, CALLER, other.address);
  try {
    await caller.says('connected');
    await network.lose(other, one);
    caller.child.stdin.write('first\n');
    await listener.says('first');
    assert.equal(caller.said, ['connected']);
    await network.lose(one, other);
    await network.restore(other, one);
    // Sent again by the system of the other one, until it has heard that it has arrived.
    await caller.says('first');
    caller.child.stdin.write('second\n');
    await network.healAll();
    await caller.says('second');
    assert.equal(caller.said, ['connected', 'first', 'second']);
  } finally {
    listener.child.kill('SIGKILL');
    caller.child.kill('SIGKILL');
    await network.close();
  }
});

for (const signal of ['SIGKILL', 'SIGINT'] as const) {
  test(`${signal} of its owner leaves no machine`, async () => {
    const source = `import { Network } from ${JSON.stringify(program(join(import.meta.dirname, 'network.ts')))};
      const network = await Network.open();
      const { enter } = await network.add('one');
      console.log(enter[1].match(/\\d+/)[0]);
      setInterval(() => undefined, 1_000);`;
    const owner = spawn(process.execPath, [...NODE_ARGUMENTS, '--input-type=module', '-e', source], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [data] = (await once(owner.stdout, 'data')) as [Buffer];
    const holder = Number(String(data));
    assert.ok(isAlive(holder));
    owner.kill(signal);
    await once(owner, 'exit');
    await assert.eventually(() => !isAlive(holder), 20_000);
  });
}
