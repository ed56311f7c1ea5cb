// Machines of their own, as far as the network goes: each has a network namespace of Linux, and all meet in one that forwards between
// them, where packets from one to another can be made to vanish without a word to either.
//
// The namespaces have no names, so that runs don't meet and nothing is left behind: each lives as long as a process in it, and the first
// of these ends with the process that opened the network, whatever ends that. Nothing is added to the network of the machine itself.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { findPrograms, hasEnded } from '../../examples/support/processes.ts';

/** A machine of the network. */
export interface Host {
  readonly name: string;
  readonly address: string;
  /** How a program is started there: the command, ahead of its own name and arguments. */
  readonly enter: readonly string[];
}

interface Place extends Host {
  readonly index: number;
  readonly holder: ChildProcess;
}

/** Packets that vanish. */
interface Loss {
  readonly rule: number;
  readonly source: string;
  readonly target: string;
}

const PROGRAMS = ['ip', 'nsenter', 'unshare'];
const FIRST_RULE = 1_000;
const MOST_HOSTS = 200;

/** Why this machine can't have such a network; undefined where it can. */
export function whyNoNetwork(): string | undefined {
  if (process.platform !== 'linux') return `network namespaces are of Linux, not of ${process.platform}`;
  if (process.getuid?.() !== 0) return 'only root may make network namespaces';
  const missing = PROGRAMS.filter((name) => findPrograms([name], ['/sbin']).length === 0);
  if (missing.length > 0) return `there is no ${missing.join(', ')} (iproute2, util-linux)`;
  // A container may allow none, or a network but no rules of its own.
  const script =
    'ip link set lo up && echo 1 > /proc/sys/net/ipv4/ip_forward && ip rule add pref 10 from 10.0.0.1 blackhole';
  const { status, stderr } = spawnSync('unshare', ['--net', 'sh', '-c', script], { encoding: 'utf8' });
  return status === 0 ? undefined : `a network namespace can't be had or set up here: ${stderr.trim()}`;
}

export class Network {
  readonly #router: ChildProcess;
  readonly #hosts = new Map<string, Place>();
  /** The rules by which packets vanish, by the way that they go. */
  readonly #lost = new Map<string, readonly Loss[]>();
  /** Addresses that belong to whichever host they were moved to last. */
  readonly #movable = new Map<string, Place>();
  #made = 0;
  #nextRule = FIRST_RULE;
  /** What changes the router, one after another. */
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(router: ChildProcess) {
    this.#router = router;
  }

  static async open(): Promise<Network> {
    const network = new Network(await hold());
    await run(network.#router, 'echo 1 > /proc/sys/net/ipv4/ip_forward');
    return network;
  }

  /** A further machine, which reaches all others. */
  async add(name: string): Promise<Host> {
    const index = ++this.#made;
    if (index > MOST_HOSTS) throw new Error(`there must be no more than ${MOST_HOSTS} hosts`);
    const address = `10.99.${index}.2`;
    const gateway = `10.99.${index}.1`;
    const holder = await hold();
    const enter = ['nsenter', `--net=/proc/${holder.pid}/ns/net`, '--'];
    const host = { name, address, enter, index, holder };
    this.#hosts.set(name, host);
    await this.#route(
      `link add host${index} type veth peer name eth0 netns ${holder.pid}`,
      `addr add ${gateway}/24 dev host${index}`,
      `link set host${index} up`,
    );
    await run(
      holder,
      `ip link set lo up && ip addr add ${address}/24 dev eth0 && ip link set eth0 up && ip route add default via ${gateway}`,
    );
    return host;
  }

  /** From now on what `from` sends to `to` is lost; nobody is told. */
  async lose(from: Host, to: Host): Promise<void> {
    const way = `${from.name}>${to.name}`;
    if (this.#lost.has(way)) return;
    const losses = this.#addressesOf(from).flatMap((source) =>
      this.#addressesOf(to).map((target): Loss => ({ rule: this.#nextRule++, source, target })),
    );
    this.#lost.set(way, losses);
    await this.#route(
      ...losses.map(({ rule, source, target }) => `rule add pref ${rule} from ${source} to ${target} blackhole`),
    );
  }

  /** What `from` sends to `to` arrives again. */
  async restore(from: Host, to: Host): Promise<void> {
    const way = `${from.name}>${to.name}`;
    const losses = this.#lost.get(way);
    if (losses === undefined) return;
    this.#lost.delete(way);
    await this.#end(losses);
  }

  /** Loses what goes between one host and others, both ways. */
  async cut(one: Host, others: readonly Host[]): Promise<void> {
    for (const other of others) {
      await this.lose(one, other);
      await this.lose(other, one);
    }
  }

  async heal(one: Host, others: readonly Host[]): Promise<void> {
    for (const other of others) {
      await this.restore(one, other);
      await this.restore(other, one);
    }
  }

  /** Nothing is lost any more. */
  async healAll(): Promise<void> {
    const losses = [...this.#lost.values()].flat();
    this.#lost.clear();
    await this.#end(losses);
  }

  /** The host is off the network for good: also what its system would send again by itself. */
  async unplug(host: Host): Promise<void> {
    await run(this.#hosts.get(host.name)!.holder, 'ip link set eth0 down');
  }

  /**
   * Gives a host an address beside its own, and has what is sent there come to it, as an address moves in a failover. What was lost on
   * the way there, where it was before, isn't lost any more.
   */
  async move(address: string, to: Host): Promise<void> {
    const place = this.#hosts.get(to.name)!;
    const isOfIt = ({ source, target }: Loss): boolean => source === address || target === address;
    for (const [way, losses] of this.#lost) {
      this.#lost.set(
        way,
        losses.filter((loss) => !isOfIt(loss)),
      );
      await this.#end(losses.filter(isOfIt));
    }
    await run(place.holder, `ip addr replace ${address}/32 dev lo`);
    this.#movable.set(address, place);
    await this.#route(`route replace ${address}/32 via ${place.address}`);
  }

  /** Ends the network, with all that is lost; what runs in there should have ended. */
  async close(): Promise<void> {
    await this.#queue;
    for (const process of [this.#router, ...[...this.#hosts.values()].map(({ holder }) => holder)]) {
      if (hasEnded(process)) continue;
      const ended = once(process, 'exit');
      process.ref();
      process.stdin!.end();
      await ended;
    }
  }

  #end(losses: readonly Loss[]): Promise<void> {
    return this.#route(...losses.map(({ rule }) => `rule del pref ${rule}`));
  }

  #addressesOf({ name, address }: Host): string[] {
    const moved = [...this.#movable].filter(([, place]) => place.name === name).map(([each]) => each);
    return [address, ...moved];
  }

  async #route(...commands: string[]): Promise<void> {
    if (commands.length === 0) return;
    const turn = this.#queue.then(() => run(this.#router, 'ip -batch -', `${commands.join('\n')}\n`));
    this.#queue = turn.catch(() => undefined);
    await turn;
  }
}

/** Starts the process by which a namespace lives: it ends when its input does. */
async function hold(): Promise<ChildProcess> {
  // In a session of its own, so that Ctrl-C doesn't take the network from under the servers, which end in good order.
  const holder = spawn('unshare', ['--net', 'cat'], { detached: true, stdio: ['pipe', 'pipe', 'ignore'] });
  holder.stdin.on('error', () => undefined);
  const echo = once(holder.stdout, 'data');
  const failed = once(holder, 'exit').then(() => Promise.reject(new Error('a network namespace must be had')));
  failed.catch(() => undefined);
  holder.stdin.write('\n');
  await Promise.race([echo, failed]);
  holder.unref();
  for (const pipe of [holder.stdin, holder.stdout]) (pipe as unknown as { unref(): void }).unref();
  return holder;
}

async function run({ pid }: ChildProcess, script: string, input = ''): Promise<void> {
  const child = spawn('nsenter', [`--net=/proc/${pid}/ns/net`, '--', 'sh', '-c', script], {
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (data: Buffer) => (said += data.toString()));
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`the network must be set up, but '${script}' said: ${said.trim()} (${input.trim()})`);
}
