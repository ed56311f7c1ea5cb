// A TCP proxy between a driver and its server, which loses, delays and cuts what passes, and counts round trips.
import { once } from 'node:events';
import { createConnection, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** Sees a piece of data before it passes; `false` withholds this piece. */
type DataHook = (data: Buffer, link: Link) => void | boolean;

/** One connection through the proxy. */
export class Link {
  /** Drops whatever the server still says: the work is done, but the reply is lost. */
  dropReplies = false;
  /** Runs of data from the client, each of which follows data from the server or opens the link. */
  flights = 0;
  readonly client: Socket;
  readonly server: Socket;
  #clientSpoke = false;

  constructor(client: Socket, server: Socket) {
    this.client = client;
    this.server = server;
  }

  /** Ends the connection for both sides at once, by reset. */
  cut(): void {
    this.client.resetAndDestroy();
    this.server.resetAndDestroy();
  }

  /** Counts a flight when the direction has changed. */
  countFlight(from: 'client' | 'server'): void {
    if (from === 'client' && !this.#clientSpoke) this.flights++;
    this.#clientSpoke = from === 'client';
  }
}

/** Passes everything through until told otherwise; what is set holds for links that are open and links to come. */
export class TcpProxy {
  readonly port: number;
  /** The open links, oldest first. */
  readonly links: Set<Link> = new Set();
  onClientData: DataHook | undefined;
  onServerData: DataHook | undefined;
  delayToServerMs = 0;
  delayToClientMs = 0;
  /** Cuts each new connection at once, as though nobody listened. */
  refuse = false;
  readonly #server: Server;
  readonly #target: { host: string; port: number };
  #endedFlights = 0;
  #releases: (() => void)[] | undefined;

  private constructor(server: Server, target: { host: string; port: number }) {
    this.#server = server;
    this.#target = target;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (client) => this.#open(client));
  }

  static async open(port: number, host = '127.0.0.1'): Promise<TcpProxy> {
    const server = createServer({ noDelay: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new TcpProxy(server, { host, port });
  }

  /** The same address, through the proxy. */
  url(url: string): string {
    const through = new URL(url);
    through.hostname = '127.0.0.1';
    through.port = String(this.port);
    return through.href;
  }

  /** The flights of all links since the last reset. */
  get flights(): number {
    return [...this.links].reduce((sum, link) => sum + link.flights, this.#endedFlights);
  }

  resetFlights(): void {
    this.#endedFlights = 0;
    for (const link of this.links) link.flights = 0;
  }

  /** Drops the replies on all open links from now on. */
  dropReplies(): void {
    for (const link of this.links) link.dropReplies = true;
  }

  /** Keeps all data, both ways, until release(). */
  hold(): void {
    this.#releases ??= [];
  }

  release(): void {
    const releases = this.#releases ?? [];
    this.#releases = undefined;
    for (const release of releases) release();
  }

  /** Cuts all open links. */
  cut(): void {
    for (const link of this.links) link.cut();
  }

  async close(): Promise<void> {
    this.#releases = undefined;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.cut();
    await closed;
  }

  #open(client: Socket): void {
    if (this.refuse) {
      client.on('error', () => {});
      client.resetAndDestroy();
      return;
    }
    const server = createConnection({ ...this.#target, noDelay: true });
    const link = new Link(client, server);
    this.links.add(link);
    this.#forward(link, 'client');
    this.#forward(link, 'server');
  }

  /** Passes on what one side says, and its end, in order. */
  #forward(link: Link, from: 'client' | 'server'): void {
    const [source, target] = from === 'client' ? [link.client, link.server] : [link.server, link.client];
    const dropped = (): boolean => from === 'server' && link.dropReplies;
    source.on('data', (data: Buffer) => {
      link.countFlight(from);
      const hook = from === 'client' ? this.onClientData : this.onServerData;
      const withheld = hook?.(data, link) === false;
      if (withheld || dropped()) return;
      this.#pass(from, () => target.writable && !dropped() && target.write(data));
    });
    source.on('end', () => this.#pass(from, () => target.end()));
    // A reset is passed on as the end of the link; who caused it finds out from its own socket.
    source.on('error', () => target.destroy());
    source.on('close', () => {
      if (this.links.delete(link)) this.#endedFlights += link.flights;
    });
  }

  /** All data of one direction has the same delay, and timers of equal length fire in order. */
  #pass(from: 'client' | 'server', action: () => void): void {
    const delayMs = from === 'client' ? this.delayToServerMs : this.delayToClientMs;
    const act = (): void => {
      if (this.#releases === undefined) action();
      else this.#releases.push(action);
    };
    if (delayMs > 0) setTimeout(act, delayMs);
    else act();
  }
}

/** Opens a proxy in front of a port of this machine. */
export function tcpProxy(port: number): Promise<TcpProxy> {
  return TcpProxy.open(port);
}
