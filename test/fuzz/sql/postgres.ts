// PostgreSQL, through a session and its pool on one side, and by a plain client of pg on the other.
import pg from 'pg';
import Cursor from 'pg-cursor';
import { type TransactionCoordinator, register } from 'unanimous';
import { PgDecisionLog, PgSession } from 'unanimous/pg';
import type { Asks, ByHand, Dialect, HeldClient, Request, Sides, ThroughLibrary } from './dialect.ts';
import { type Reply, codeIn, codeOf, ownFailure, replyOf } from './log.ts';
import { POSTGRES_TABLES, POSTGRES_THEMES, type Statement } from './postgres-statements.ts';
import type { TransactionItem, Use } from './script.ts';

/** The two databases, on one server. */
export interface Urls {
  readonly through: string;
  readonly byHand: string;
}

export interface PostgresOptions {
  readonly name?: string;
  /** One by default, so that what is left behind on it is found by whatever comes next. A decision log needs others. */
  readonly connections?: number;
  readonly themes?: readonly (readonly ((use: Use) => Statement)[])[];
}

/** A dialect over two databases of a server. */
export function postgresDialect(urls: Urls, options: PostgresOptions = {}): Dialect {
  const { themes = POSTGRES_THEMES, name = 'pg' } = options;
  const dialect: Dialect = {
    name,
    themes: themes.map(({ length }) => length),
    forms: ['plain', 'plain', 'config', 'callback', 'array', 'named'],
    hasCursors: true,
    request: (theme, statement, use) => ({ values: undefined, ...themes[theme]![statement]!(use), form: use.form }),
    harmless: 'update counts set count = count + 1000',
    answerOf: (command) => ({ result: { command, rowCount: null, rows: [], fields: [] } }),
    failed,
    isLibrarys,
    open: (coordinator) => open(dialect, urls, coordinator, options.connections ?? 1),
  };
  return dialect;
}

/** A statement whose name had to be given up, as its table has changed or somebody has deallocated it: documented to be tried again. */
function isLibrarys(error: Error): boolean {
  const code = codeOf(error);
  if (code === '0A000') return error.message.includes('cached plan');
  return (code === '26000' || code === '42P05') && error.message.includes('unanimous_');
}

async function open(
  dialect: Dialect,
  urls: Urls,
  coordinator: TransactionCoordinator,
  connections: number,
): Promise<Sides> {
  const admins = [urls.through, urls.byHand].map((url) => new pg.Client(url));
  await Promise.all(
    admins.map(async (admin) => {
      admin.on('error', () => undefined);
      await admin.connect();
      await admin.query(POSTGRES_TABLES);
    }),
  );
  const library = new Library(dialect.name, urls.through, coordinator, connections);
  const hand = new Hand(urls.byHand);
  await hand.connect();
  return {
    dialect,
    library,
    hand,
    decisionLog: () => new PgDecisionLog(library.session),
    remember: async () => {
      const { rows } = await admins[0]!.query('select last_value, is_called from items_id_seq');
      const { last_value: last, is_called: isCalled } = rows[0] as { last_value: string; is_called: boolean };
      return async () => void (await admins[0]!.query("select setval('items_id_seq', $1, $2)", [last, isCalled]));
    },
    contents: async () => {
      const [through, byHand] = await Promise.all(admins.map(contentsOf));
      return { through, byHand };
    },
    close: async () => {
      await Promise.all([...admins.map((admin) => admin.end()), hand.close(), library.close()]);
    },
  };
}

/** Every table with its rows, and where the sequence stands. */
async function contentsOf(admin: pg.Client): Promise<unknown> {
  const { rows } = await admin.query<{ name: string }>(
    "select table_name as name from information_schema.tables where table_schema = 'public' and table_name not like 'unanimous%' order by 1",
  );
  const contents: Record<string, unknown> = {};
  for (const { name } of rows) {
    const { rows, fields } = await admin.query({ text: `select * from ${name} order by 1`, rowMode: 'array' });
    contents[name] = { columns: fields.map((field) => [field.name, field.dataTypeID]), rows };
  }
  contents['sequence'] = (await admin.query('select last_value from items_id_seq')).rows;
  return contents;
}

/** What is compared of a result. */
function seen(result: unknown): unknown {
  if (Array.isArray(result)) return result.map(seen);
  const { command, rowCount, rows, fields } = result as pg.QueryResult;
  return { command, rowCount, rows, fields: fields.map(({ name, dataTypeID, format }) => [name, dataTypeID, format]) };
}

/** What is compared of an error: all that the server says of it, but for the name that a statement was given. */
function failed(error: Error): unknown {
  const code = codeOf(error);
  if (code.startsWith('ERR_TXN_')) return ownFailure(error, failed);
  const { severity, detail, hint, position, where, schema, table, column, constraint } = error as pg.DatabaseError;
  const message = error.message.replaceAll(/"unanimous_\d+"/g, '""');
  return { code, message, severity, detail, hint, position, where, schema, table, column, constraint };
}

type Callback = (error: Error | null | undefined, result: unknown) => void;
type Target = { query(...args: unknown[]): unknown };

const ownNames = new Map<string, string>();

/** Hands a statement over in one of the forms that pg takes; but for `rows`, with which pg hangs when the statement fails. */
function hand(target: Target, { text, values, form }: Request): unknown {
  const given = values === undefined ? {} : { values };
  switch (form) {
    case 'plain':
      return values === undefined ? target.query(text) : target.query(text, values);
    case 'config':
      return target.query({ text, ...given });
    case 'array':
      return target.query({ text, ...given, rowMode: 'array' });
    case 'named':
      if (!ownNames.has(text)) ownNames.set(text, `own_${ownNames.size}`);
      return target.query({ text, ...given, name: ownNames.get(text) });
    case 'callback':
      return new Promise((resolve, reject) => {
        const done: Callback = (error, result) =>
          error === null || error === undefined ? resolve(result) : reject(error);
        if (values === undefined) target.query(text, done);
        else target.query(text, values, done);
      });
  }
}

const BLANK = /^(?:\s|;|--.*)*$/;

/** A text without a statement is answered in a failed transaction by one protocol and refused by the other: it is all one. */
async function askPg(target: Target, request: Request, failed: (error: Error) => unknown): Promise<Reply> {
  const reply = await replyOf(() => Promise.resolve(hand(target, request)), seen, failed);
  return BLANK.test(request.text) && codeIn(reply) === '25P02' ? NOTHING : reply;
}

const NOTHING: Reply = { result: { command: null, rowCount: null, rows: [], fields: [] } };

function readFrom(
  target: Target,
  request: Request,
  size: number,
  reads: number,
  failed: (error: Error) => unknown,
): Promise<Reply> {
  // pg-cursor doesn't survive a value that can't be encoded.
  if (request.values?.some((value) => typeof (value as { toPostgres?: unknown } | null)?.toPostgres === 'function')) {
    return askPg(target, request, failed);
  }
  const read = async (): Promise<unknown[]> => {
    const cursor = new Cursor(request.text, request.values);
    target.query(cursor);
    const batches: unknown[] = [];
    try {
      for (let read = 0; read < reads; read++) batches.push(await cursor.read(size));
    } finally {
      await cursor.close();
    }
    return batches;
  };
  return replyOf(read, (batches) => batches, failed);
}

function throughOf(target: Target): Asks {
  const failing = (request: Request) => (error: Error) => {
    if (request.form !== 'named' && isLibrarys(error)) throw error;
    return failed(error);
  };
  return {
    ask: (request) => askPg(target, request, failing(request)),
    readInBatches: (request, size, reads) => readFrom(target, request, size, reads, failing(request)),
  };
}

class Library implements ThroughLibrary {
  readonly #pool: pg.Pool;
  readonly #enlisting: pg.Pool;
  readonly session: PgSession<pg.Pool>;
  opened = 0;

  constructor(name: string, url: string, coordinator: TransactionCoordinator, connections: number) {
    this.#pool = new pg.Pool({ connectionString: url, max: connections, idleTimeoutMillis: 0 });
    this.#pool.on('connect', () => this.opened++);
    this.#pool.on('error', () => undefined);
    this.session = register(new PgSession(this.#pool, { name, acquireTimeoutMs: 5_000 }), { coordinator });
    this.#enlisting = this.session.pool();
  }

  via(via: 'session' | 'pool'): Asks {
    return throughOf(via === 'session' ? this.session : this.#enlisting);
  }

  async take(): Promise<HeldClient> {
    const client = await this.#enlisting.connect();
    return { ...throughOf(client), release: () => client.release() };
  }

  async assertIdle(): Promise<void> {
    const { idleCount, totalCount, waitingCount } = this.#pool;
    if (idleCount !== totalCount || waitingCount !== 0) {
      throw new Error(`of ${totalCount} connections ${idleCount} are idle, and ${waitingCount} wait for one`);
    }
    const client = await this.#pool.connect();
    try {
      const listeners = ['error', 'end', 'drain', 'notice', 'notification'].map((event) => client.listenerCount(event));
      const { rows } = await client.query(
        "select current_setting('transaction_read_only') as readonly, pg_current_xact_id_if_assigned() as xid",
      );
      const status = (client as unknown as { getTransactionStatus(): string }).getTransactionStatus();
      const state = JSON.stringify({ status, listeners, rows });
      const expected = JSON.stringify({
        status: 'I',
        listeners: [0, 0, 0, 0, 0],
        rows: [{ readonly: 'off', xid: null }],
      });
      if (state !== expected) throw new Error(`an idle connection must be as new: ${expected}, not ${state}`);
    } finally {
      client.release();
    }
  }

  close(): Promise<void> {
    return this.#pool.end();
  }
}

/** One plain connection. */
class Hand implements ByHand {
  readonly #url: string;
  #client: pg.Client;
  failure: Reply | undefined = undefined;

  constructor(url: string) {
    this.#url = url;
    this.#client = new pg.Client(url);
  }

  connect(): Promise<void> {
    this.#client.on('error', () => undefined);
    return this.#client.connect().then(() => undefined);
  }

  async reconnect(): Promise<void> {
    await this.#client.end();
    this.#client = new pg.Client(this.#url);
    await this.connect();
  }

  async ask(request: Request): Promise<Reply> {
    return this.#settled(await askPg(this.#client, request, failed));
  }

  async readInBatches(request: Request, size: number, reads: number): Promise<Reply> {
    return this.#settled(await readFrom(this.#client, request, size, reads, failed));
  }

  /** An error is told before the server says how the transaction stands. */
  async #settled(reply: Reply): Promise<Reply> {
    if ('error' in reply) await this.#client.query('');
    this.#look(reply);
    return reply;
  }

  /** What pg itself refuses leaves the transaction as it is, and a rollback to a savepoint heals it. */
  #look(reply: Reply): void {
    const status = (this.#client as unknown as { getTransactionStatus(): string }).getTransactionStatus();
    this.failure = status === 'E' ? (this.failure ?? reply) : undefined;
  }

  async begin({ isolation, readOnly }: Pick<TransactionItem, 'isolation' | 'readOnly'>): Promise<void> {
    this.failure = undefined;
    const level = isolation === undefined ? '' : ` isolation level ${isolation}`;
    await this.#client.query(`BEGIN${level}${readOnly ? ' read only' : ''}`);
  }

  savepoint(name: string): Promise<Reply | undefined> {
    return this.#refusal(`SAVEPOINT ${name}`);
  }

  async rollbackTo(name: string): Promise<void> {
    await this.#client.query(`ROLLBACK TO SAVEPOINT ${name}`);
    this.failure = undefined;
  }

  async release(name: string): Promise<void> {
    await this.#client.query(`RELEASE SAVEPOINT ${name}`);
  }

  checkDeferred(): Promise<Reply | undefined> {
    return this.#refusal('SET CONSTRAINTS ALL IMMEDIATE');
  }

  commit(): Promise<Reply | undefined> {
    return this.#refusal('COMMIT');
  }

  async rollback(): Promise<void> {
    await this.#client.query('ROLLBACK');
  }

  async #refusal(text: string): Promise<Reply | undefined> {
    try {
      await this.#client.query(text);
      return undefined;
    } catch (error) {
      return this.#settled({ error: failed(error as Error) });
    }
  }

  close(): Promise<void> {
    return this.#client.end();
  }
}
