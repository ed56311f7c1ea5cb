// MariaDB, through a session and its pool on one side, and by a plain connection of mysql2 on the other. A statement that fails leaves the
// rest of the transaction standing there; through the library it must not be committed.
import mysql from 'mysql2/promise';
import { type TransactionCoordinator, register } from 'unanimous';
import { MysqlSession } from 'unanimous/mysql';
import type { Asks, ByHand, Dialect, HeldClient, Request, Sides, ThroughLibrary } from './dialect.ts';
import { type Reply, codeOf, ownFailure, replyOf } from './log.ts';
import type { Urls } from './postgres.ts';
import type { TransactionItem, Use } from './script.ts';

const TABLES = [
  'drop table if exists items, counts',
  'create table items (`key` int primary key, value int not null check (value < 12), note varchar(20)) engine=innodb',
  'create table counts (`key` int primary key, count int not null) engine=innodb',
  'insert into counts values (0, 0), (1, 10), (2, 20)',
];

interface Statement {
  readonly text: string;
  readonly values?: unknown[];
}

type Make = (use: Pick<Use, 'a' | 'b'>) => Statement;

const WORK: readonly Make[] = [
  ({ a, b }) => ({ text: 'insert into items (`key`, value) values (?, ?)', values: [a, b] }),
  ({ a, b }) => ({ text: `insert into items (\`key\`, value) values (${a}, ${b})` }),
  ({ a, b }) => ({
    text: 'insert into items (`key`, value) values (?, ?) on duplicate key update value = value + 1',
    values: [a, b],
  }),
  ({ a, b }) => ({ text: 'insert ignore into items (`key`, value) values (?, ?)', values: [a, b] }),
  ({ a, b }) => ({ text: 'replace into counts values (?, ?)', values: [a, b] }),
  ({ a, b }) => ({ text: 'update items set value = value + ? where `key` <= ?', values: [b, a] }),
  ({ a, b }) => ({ text: `update counts set count = count + ${b} where \`key\` = ${a % 3}` }),
  ({ a }) => ({ text: 'delete from items where `key` = ?', values: [a] }),
  () => ({ text: 'select * from items order by `key`' }),
  ({ a }) => ({ text: 'select * from items where value >= ? order by `key`', values: [a] }),
  ({ a }) => ({ text: 'select * from items where `key` = ? for update', values: [a] }),
  ({ a }) => ({ text: 'select `key`, count from counts where `key` <> ? order by `key`', values: [a] }),
  ({ a, b }) => ({ text: 'select ? + ? as sum', values: [a, b] }),
];

const FAILING: readonly Make[] = [
  ({ a }) => ({ text: 'select * from nowhere where id = ?', values: [a] }),
  ({ a }) => ({ text: 'selec ?', values: [a] }),
  ({ a }) => ({ text: 'select missing from items where `key` = ?', values: [a] }),
  ({ a }) => ({ text: 'insert into items (`key`, value) values (?, null)', values: [a] }),
  ({ a }) => ({ text: 'insert into items (`key`, value) values (?, 99)', values: [a] }),
  ({ a }) => ({ text: 'insert into counts values (?, 1)', values: [a] }),
];

const THEMES: readonly (readonly Make[])[] = [WORK, WORK, [...WORK, ...FAILING]];

/** A dialect over two databases of a server. */
export function mariadbDialect(urls: Urls, name = 'mariadb'): Dialect {
  const dialect: Dialect = {
    name,
    themes: THEMES.map(({ length }) => length),
    forms: ['plain', 'config', 'array', 'named'],
    hasCursors: false,
    request: (theme, statement, use) => ({ values: undefined, ...THEMES[theme]![statement]!(use), form: use.form }),
    harmless: 'update counts set count = count + 1000',
    answerOf: () => ({ result: { header: { affectedRows: 0, insertId: 0, warningStatus: 0, info: '' } } }),
    failed,
    isLibrarys: () => false,
    open: (coordinator) => open(dialect, urls, coordinator),
  };
  return dialect;
}

async function open(dialect: Dialect, urls: Urls, coordinator: TransactionCoordinator): Promise<Sides> {
  const admins = await Promise.all([urls.through, urls.byHand].map((url) => mysql.createConnection(url)));
  for (const admin of admins) {
    admin.on('error', () => undefined);
    for (const text of TABLES) await admin.query(text);
  }
  const library = new Library(dialect.name, urls.through, coordinator);
  const hand = new Hand(urls.byHand);
  await hand.connect();
  return {
    dialect,
    library,
    hand,
    remember: () => Promise.resolve(() => Promise.resolve()),
    contents: async () => {
      const [through, byHand] = await Promise.all(admins.map(contentsOf));
      return { through, byHand };
    },
    close: async () => {
      await Promise.all([...admins.map((admin) => admin.end()), hand.close(), library.close()]);
    },
  };
}

async function contentsOf(admin: mysql.Connection): Promise<unknown> {
  const [items] = await admin.query('select * from items order by `key`');
  const [counts] = await admin.query('select * from counts order by `key`');
  return { items, counts };
}

/** What is compared of a result: not what the server says of the connection. */
function seen(result: unknown): unknown {
  const [rows, fields] = result as [unknown, { name: string; columnType?: number }[] | undefined];
  if (Array.isArray(rows)) return { rows, fields: fields?.map(({ name, columnType }) => [name, columnType]) };
  const { affectedRows, insertId, warningStatus, info } = rows as mysql.ResultSetHeader;
  return { header: { affectedRows, insertId, warningStatus, info } };
}

function failed(error: Error): unknown {
  const code = codeOf(error);
  if (code.startsWith('ERR_TXN_')) return ownFailure(error, failed);
  const { errno, sqlState, sqlMessage } = error as Error & { errno?: number; sqlState?: string; sqlMessage?: string };
  // The two databases have different names.
  return { code, errno, sqlState, sqlMessage: sqlMessage?.replaceAll(/`?unanimous_\w+`?\./g, '') };
}

interface Target {
  query(...args: unknown[]): Promise<unknown>;
  execute(...args: unknown[]): Promise<unknown>;
}

function asksOf(target: Target): Asks {
  const ask = ({ text, values, form }: Request): Promise<Reply> =>
    replyOf(
      () => {
        if (form === 'named') return target.execute(text, values ?? []);
        if (form === 'config') return target.query({ sql: text, values });
        if (form === 'array') return target.query({ sql: text, values, rowsAsArray: true });
        return values === undefined ? target.query(text) : target.query(text, values);
      },
      seen,
      failed,
    );
  return { ask, readInBatches: ask };
}

class Library implements ThroughLibrary {
  readonly #pool: mysql.Pool;
  readonly #session: MysqlSession;
  readonly #enlisting: mysql.Pool;
  readonly opened = 0;

  constructor(name: string, url: string, coordinator: TransactionCoordinator) {
    this.#pool = mysql.createPool({ uri: url, connectionLimit: 3 });
    const session = register(new MysqlSession(this.#pool, { name, acquireTimeoutMs: 5_000 }), { coordinator });
    this.#session = session;
    this.#enlisting = session.pool();
  }

  via(via: 'session' | 'pool'): Asks {
    return asksOf(via === 'session' ? this.#session : this.#enlisting);
  }

  async take(): Promise<HeldClient> {
    const client = await this.#enlisting.getConnection();
    return { ...asksOf(client), release: () => client.release() };
  }

  async assertIdle(): Promise<void> {
    const client = await this.#pool.getConnection();
    try {
      const [rows] = await client.query('select @@in_transaction as open, @@tx_read_only as readonly');
      const state = JSON.stringify(rows);
      if (state !== '[{"open":0,"readonly":0}]') throw new Error(`an idle connection must be as new, not ${state}`);
    } finally {
      client.release();
    }
  }

  close(): Promise<void> {
    return this.#pool.end();
  }
}

/** One plain connection, and whether a statement has failed in its transaction. */
class Hand implements ByHand {
  readonly #url: string;
  #connection: mysql.Connection | undefined;
  failure: Reply | undefined = undefined;

  constructor(url: string) {
    this.#url = url;
  }

  async connect(): Promise<void> {
    this.#connection = await mysql.createConnection(this.#url);
    this.#connection.on('error', () => undefined);
  }

  async reconnect(): Promise<void> {
    await this.close();
    await this.connect();
  }

  async ask(request: Request): Promise<Reply> {
    if (this.failure !== undefined && request.text.startsWith('SAVEPOINT ')) return { error: 'ERR_TXN_STATE' };
    const reply = await asksOf(this.#connection as unknown as Target).ask(request);
    if ('error' in reply) this.failure ??= reply;
    else this.#follow(request.text);
    return reply;
  }

  readInBatches(request: Request): Promise<Reply> {
    return this.ask(request);
  }

  /** What failed behind a savepoint is undone with it; before it nothing has, or it could not have been made. */
  #follow(text: string): void {
    if (text.startsWith('ROLLBACK TO SAVEPOINT ')) this.failure = undefined;
  }

  async begin({ isolation, readOnly }: Pick<TransactionItem, 'isolation' | 'readOnly'>): Promise<void> {
    this.failure = undefined;
    if (isolation !== undefined) await this.#send(`SET TRANSACTION ISOLATION LEVEL ${isolation}`);
    await this.#send(`START TRANSACTION${readOnly ? ' READ ONLY' : ''}`);
  }

  async #send(text: string): Promise<undefined> {
    await this.#connection!.query(text);
    this.#follow(text);
    return undefined;
  }

  /** Refused behind a statement that has failed, as a rollback to it would not undo that. */
  savepoint(name: string): Promise<Reply | undefined> {
    return this.failure !== undefined ? Promise.resolve({ error: 'ERR_TXN_STATE' }) : this.#send(`SAVEPOINT ${name}`);
  }

  rollbackTo(name: string): Promise<undefined> {
    return this.#send(`ROLLBACK TO SAVEPOINT ${name}`);
  }

  release(name: string): Promise<undefined> {
    return this.#send(`RELEASE SAVEPOINT ${name}`);
  }

  checkDeferred(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  commit(): Promise<undefined> {
    return this.#send('COMMIT');
  }

  rollback(): Promise<undefined> {
    return this.#send('ROLLBACK');
  }

  async close(): Promise<void> {
    await this.#connection!.end();
  }
}
