// One cell of the crash matrix while one fault is tried: a transaction over two databases, the proxies that its process goes through,
// and what is in the databases.
import { type Link, type TcpProxy, tcpProxy } from '../support/proxy.ts';
import { assert } from '../support/suite.ts';
import { type Child, PATIENCE_MS } from './child.ts';
import type { Branch, Database, World } from './databases.ts';
import type { Point, Task, Told, Word } from './messages.ts';
import type { Kind, Setting } from './resources.ts';

/** A way to commit, over a pair of drivers. */
export interface Cell {
  /** Whether the decision store is one of the databases that are changed. */
  readonly path: 'last resource' | 'full';
  readonly store: Kind;
  readonly a: Kind;
  readonly b: Kind;
}

export function titleOf({ path, store, a, b }: Cell): string {
  return path === 'full'
    ? `full path, ${a} and ${b}, store in ${store}`
    : `last resource, ${a} with the store and ${b}`;
}

export const CELLS: readonly Cell[] = [
  ...(['PostgreSQL', 'MariaDB'] as const).flatMap((store) =>
    (['PostgreSQL', 'MariaDB'] as const).map((b): Cell => ({ path: 'last resource', store, a: store, b })),
  ),
  ...(['PostgreSQL', 'MariaDB'] as const).flatMap((store) =>
    (
      [
        ['PostgreSQL', 'PostgreSQL'],
        ['PostgreSQL', 'MariaDB'],
        ['MariaDB', 'MariaDB'],
      ] as const
    ).map(([a, b]): Cell => ({ path: 'full', store, a, b })),
  ),
];

/** What is sent to a database of a commit. */
export type Message = 'prepare' | 'decide' | 'follow' | 'undo';

/** Where a database is in a case. */
type Where = 'a' | 'b' | 'store';

/** A message that is on its way. */
export interface Delayed {
  /** Resolves when the server has answered, or has hung up. */
  arrive(): Promise<void>;
  /** The sender hears that the link is gone, and the server doesn't. */
  hangUp(): void;
  /** The server hears that the sender is gone. */
  close(): void;
}

/** How the number of a case's second transaction follows from that of its first. */
const AGAIN = 1_000_000;

let cases = 0;

export class Case {
  readonly cell: Cell;
  readonly name: string;
  readonly id: number;
  readonly tablePrefix: string;
  readonly databases: { readonly [W in Where]: Database };
  readonly proxies: { readonly [W in Where]: TcpProxy };
  readonly #app: string;

  private constructor(cell: Cell, world: World, proxies: { readonly [W in Where]: TcpProxy }) {
    this.cell = cell;
    this.id = ++cases;
    this.#app = `case${this.id}`;
    this.name = titleOf(cell);
    this.tablePrefix = `cell${CELLS.indexOf(cell)}_`;
    this.databases = databasesOf(cell, world);
    this.proxies = proxies;
  }

  static async open(cell: Cell, world: World): Promise<Case> {
    const { a, b, store } = databasesOf(cell, world);
    const proxyOf = (database: Database): Promise<TcpProxy> => tcpProxy(database.server.port);
    const proxies = { a: await proxyOf(a), b: await proxyOf(b) };
    return new Case(cell, world, { ...proxies, store: store === a ? proxies.a : await proxyOf(store) });
  }

  /** What a process works with: through the proxies where it is the one that things happen to. */
  setting(isVictim: boolean, patience: Partial<Setting> = {}): Setting {
    const at = (where: Where): Setting['a'] => {
      const { place } = this.databases[where];
      return isVictim ? { ...place, url: this.proxies[where].url(place.url) } : place;
    };
    return {
      app: this.#app,
      a: at('a'),
      b: at('b'),
      store: this.cell.path === 'full' ? at('store') : 'a',
      tablePrefix: this.tablePrefix,
      leaseMs: 1_000,
      everyMs: 200,
      decisionTimeoutMs: 10_000,
      endTimeoutMs: 30_000,
      resolveTimeoutMs: 2_000,
      preparedWaitSeconds: 1,
      ...patience,
    };
  }

  task(stopAt: Point | undefined, votesNo: boolean, patience: Partial<Setting>): Task {
    return { name: this.name, id: this.id, stopAt, votesNo, setting: this.setting(true, patience) };
  }

  /** How a message to a database looks on the wire. */
  #text(where: Where, message: Message): string {
    const isPg = this.databases[where].place.kind === 'PostgreSQL';
    if (message === 'prepare') return isPg ? 'prepare transaction' : 'xa prepare';
    if (message === 'follow') return isPg ? 'commit prepared' : 'xa commit';
    if (message === 'undo') return isPg ? 'rollback prepared' : 'xa rollback';
    // In MySQL the decision is there when the commit is.
    return isPg || this.cell.path === 'full' ? `insert into ${this.tablePrefix}decision` : 'one phase';
  }

  /**
   * Calls `act` when the message is sent for the first time; where it answers false, nothing more of that link arrives, but is given to
   * `withhold`.
   */
  when(
    where: Where,
    message: Message,
    act: (link: Link, data: Buffer) => boolean,
    withhold?: (data: Buffer) => void,
  ): Promise<void> {
    const proxy = this.proxies[where];
    const text = this.#text(where, message);
    return new Promise((resolve) => {
      let silenced: Link | undefined;
      let isOver = false;
      proxy.onClientData = (data, link) => {
        if (link === silenced) {
          withhold?.(data);
          return false;
        }
        if (isOver || !data.toString('latin1').includes(text)) return undefined;
        isOver = true;
        if (!act(link, data)) silenced = link;
        resolve();
        return silenced !== link;
      };
    });
  }

  /** The message doesn't arrive, or its answer doesn't; resolves when it was sent. */
  async lose(what: 'message' | 'answer', where: Where, message: Message): Promise<Link> {
    let lost!: Link;
    await this.when(where, message, (link) => {
      lost = link;
      link.dropReplies = true;
      return what === 'answer';
    });
    return lost;
  }

  /** The message is on its way for as long as wanted, even if its sender dies; resolves when it was sent. */
  async delay(where: Where, message: Message): Promise<Delayed> {
    let delayed!: Delayed;
    const sent: Buffer[] = [];
    const keep = (data: Buffer): void => void sent.push(data);
    await this.when(
      where,
      message,
      (link, data) => {
        keep(data);
        for (const event of ['end', 'error', 'close']) link.client.removeAllListeners(event);
        link.client.on('error', () => undefined);
        const answered = new Promise<void>((answer) => link.server.once('data', () => answer()).once('close', answer));
        const arrive = (): Promise<void> => {
          for (const each of sent) link.server.write(each);
          return answered;
        };
        delayed = { arrive, hangUp: () => void link.client.resetAndDestroy(), close: () => link.cut() };
        return false;
      },
      keep,
    );
    return delayed;
  }

  /** Nobody gets through to a database any more. */
  cutOff(where: Where): void {
    this.proxies[where].refuse = true;
    this.proxies[where].cut();
  }

  connect(where: Where): void {
    this.proxies[where].refuse = false;
  }

  /** What is prepared of this case. */
  async prepared(...where: ('a' | 'b')[]): Promise<Branch[]> {
    const lists = await Promise.all(where.map((each) => this.databases[each].prepared()));
    return lists.flatMap((list, index) =>
      list.filter(({ gid, resource }) => gid.startsWith(`${this.#app}:`) && resource === where[index]),
    );
  }

  /** The decisions to commit of this case that stand in the store. */
  async decisions(): Promise<string[]> {
    const rows = await this.databases.store.rows<{ gid: string }>(
      `select gid from ${this.tablePrefix}decision where outcome = 'C' and gid like '${this.#app}:%'`,
    );
    return rows.map(({ gid }) => gid);
  }

  /** Waits until the databases show it. */
  async until(what: string, holds: () => Promise<boolean>): Promise<void> {
    await assert.eventually(
      async () => {
        if (!(await holds())) throw new Error(`${this.name}: ${what}`);
      },
      PATIENCE_MS,
      50,
    );
  }

  untilPrepared(...where: ('a' | 'b')[]): Promise<void> {
    return this.until('must be prepared', async () => (await this.prepared(...where)).length === where.length);
  }

  untilDecided(): Promise<void> {
    return this.until('must be decided', async () => (await this.decisions()).length === 1);
  }

  /** Nothing is prepared, and no decision is left that anybody needs. */
  async isClean(): Promise<boolean> {
    const [prepared, decisions] = await Promise.all([this.prepared('a', 'b'), this.decisions()]);
    return prepared.length === 0 && decisions.length === 0;
  }

  untilClean(): Promise<void> {
    return this.until('nothing must be left prepared, nor a decision that all have followed', () => this.isClean());
  }

  /** Who may decide, by the store. */
  async nodes(): Promise<string[]> {
    const rows = await this.databases.store.rows<{ incarnation: string }>(
      `select incarnation from ${this.tablePrefix}node`,
    );
    return rows.map(({ incarnation }) => incarnation);
  }

  /** All leases in the store run out now. */
  async expireLeases(): Promise<void> {
    await this.databases.store.rows(`update ${this.tablePrefix}lease set expires_at = '2020-01-01'`);
  }

  /** Waits until the process has come to a point, and returns the transaction's id. */
  async at(child: Child, point: Point): Promise<string> {
    type At = Extract<Word, { is: 'at' }>;
    return (await child.heard(this.name, (word): word is At => word.is === 'at' && word.point === point)).gid;
  }

  /** Waits until the caller of the transaction was told how it ended. */
  async told(child: Child, id: number = this.id): Promise<Told> {
    type Answer = Extract<Word, { is: 'told' }>;
    return (await child.heard(this.name, (word): word is Answer => word.is === 'told' && word.id === id)).told;
  }

  /** Another transaction of the process commits. */
  async worksAgain(child: Child): Promise<void> {
    const id = this.id + AGAIN;
    child.order({ do: 'run again', name: this.name, id });
    const { outcome, error } = await this.told(child, id);
    assert.is(outcome, 'committed', `it must be able to work again: ${error}`);
  }

  /** Waits until a transaction in doubt is resolved. */
  async resolved(child: Child): Promise<string> {
    type Resolved = Extract<Word, { is: 'resolved' }>;
    return (await child.heard(this.name, (word): word is Resolved => word.is === 'resolved')).outcome;
  }

  /** Whether what was written is there: the same in both databases. */
  async outcome(id: number = this.id): Promise<'committed' | 'aborted'> {
    const [inA, inB] = await Promise.all(['a', 'b'].map((where) => this.databases[where as Where].moves()));
    const [a, b] = [inA!.includes(id), inB!.includes(id)];
    assert.is(a, b, `all or nothing: a has ${a ? 'committed' : 'nothing'}, b has ${b ? 'committed' : 'nothing'}`);
    return a ? 'committed' : 'aborted';
  }

  async close(): Promise<void> {
    await Promise.all([...new Set(Object.values(this.proxies))].map((proxy) => proxy.close()));
  }
}

function databasesOf({ path, store, a, b }: Cell, world: World): { readonly [W in Where]: Database } {
  const log = world[store].store;
  return { store: log, a: path === 'full' ? world[a].a : log, b: world[b].b };
}
