/**
 * What the sessions of all SQL databases share: made once per process, used by every context, joined to a transaction by its
 * first statement (zope 132-156).
 */
import { transaction } from '../../coordinator/default.ts';
import { ConfigurationError, TransactionClosed, describe } from '../../coordinator/errors.ts';
import type { TransactionManager } from '../../coordinator/manager.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type {
  JoinOptions,
  MarkChangedOptions,
  PreparedReport,
  RecoverableResource,
  RegisterOptions,
  ResourceWarning,
  Session,
  SessionCoordinator,
  SessionState,
} from '../../coordinator/types.ts';
import type { Xid } from '../../coordinator/xid.ts';
import { SqlBranch } from './branch.ts';
import type { SqlSandbox } from './sandbox.ts';
import type { SqlServer } from './server.ts';
import type { SqlConnection } from './connection.ts';

/** A name is part of a branch's identity, which can't be a bind parameter and is at most 64 bytes in XA. */
const NAME = /^[A-Za-z0-9_.-]{1,63}$/;

/** A SQL database in the transactions of this process: the part that all kinds have in common. */
export abstract class SqlSession implements Session, RecoverableResource {
  /** Stable name of the database: in errors, and in the identity of its branches. */
  readonly name: string;
  /** @internal */ readonly server: SqlServer;
  /** @internal Where read-only transactions go; undefined where they go to {@link server} too. */ readonly reader:
    | SqlServer
    | undefined;
  /** Whether its branches are prepared; see {@link RegisterOptions.twoPhase}. */
  twoPhase: 'auto' | boolean = 'auto';
  /** Whether writes are found by themselves; see {@link RegisterOptions.detectWrites}. */
  detectWrites = true;
  /** @internal Whether a commit is sent behind statements that nobody has awaited, rather than refused. */
  readonly commitsBehindStatements: boolean;
  #initialState: SessionState = 'active';
  #keepSession = false;
  #coordinator: SessionCoordinator = transaction;
  /** Connections kept between the transactions of a context. */
  readonly #kept = new Map<object, { readonly connection: SqlConnection; readonly forget: () => void }>();

  /** @internal */
  protected constructor(
    name: string,
    makeServer: (name: string) => SqlServer,
    makeReader: ((name: string) => SqlServer) | undefined,
    commitsBehindStatements = false,
  ) {
    if (typeof name !== 'string' || !NAME.test(name)) {
      throw new ConfigurationError(
        `the name of a session must be 1 to 63 letters, digits, '_', '.' or '-', not ${describe(name)}; it is part of the identity of its branches`,
      );
    }
    this.name = name;
    this.server = makeServer(name);
    this.reader = makeReader?.(name);
    this.commitsBehindStatements = commitsBehindStatements;
  }

  /** Called by `register`. Holds for transactions that the session joins from now on. */
  configure(options: RegisterOptions): void {
    if (options.initialState !== undefined) this.#initialState = options.initialState;
    if (options.keepSession !== undefined) this.#keepSession = options.keepSession;
    if (options.twoPhase !== undefined) this.twoPhase = options.twoPhase;
    if (options.detectWrites !== undefined) this.detectWrites = options.detectWrites;
    if (options.coordinator !== undefined) this.#coordinator = options.coordinator;
    this.#coordinator.recovers?.(this);
  }

  /** State in the current transaction; undefined where it hasn't joined, or there is none. */
  get state(): SessionState | undefined {
    return (this.#coordinator.current?.joined(this) as SqlBranch | undefined)?.state;
  }

  /** Says that something was written which can't be seen from outside; see `markChanged`. */
  markChanged(options: MarkChangedOptions = {}): void {
    const branch = this.branch({ keepSession: options.keepSession });
    branch.markChanged();
    if (options.keepSession === true) branch.keep = true;
  }

  /** Joins the current transaction before the first statement does; see `joinTransaction`. */
  joinTransaction(options: JoinOptions = {}): void {
    const branch = this.branch(options);
    if (options.initialState === 'changed') branch.markChanged();
    if (options.keepSession !== undefined) branch.keep = options.keepSession;
  }

  /** @internal The part of this session in the current transaction; joins it where it hasn't. */
  protected branch(options: JoinOptions = {}): SqlBranch {
    const txn = this.#coordinator.enlist();
    const joined = txn.joined(this);
    if (joined !== undefined) return joined as SqlBranch;
    if (txn.status !== 'active' && txn.status !== 'doomed' && txn.status !== 'commit failed') {
      throw new TransactionClosed(
        `a session joins while its transaction is active; that of '${this.name}' is ${txn.status}, so nothing is sent`,
        { resource: this.name, xid: txn.id },
      );
    }
    return txn.getOrJoin(this, () => this.#join(txn, options));
  }

  /** @internal The same, but undefined outside of any transaction. */
  enlisted(): SqlBranch | undefined {
    try {
      return this.branch();
    } catch (error) {
      // Where a transaction was and has ended, that is said; only where none was begun there is none.
      if ((error as { code?: unknown }).code !== 'ERR_TXN_NO_TRANSACTION') throw error;
      return (this.#coordinator.sandbox as SqlSandbox | undefined)?.outside(this);
    }
  }

  #join(txn: Transaction, options: JoinOptions): SqlBranch {
    this.#coordinator.recovers?.(this);
    for (const other of txn.resources) {
      if (other instanceof SqlBranch && other.session.name === this.name) {
        throw new ConfigurationError(
          `the sessions of a transaction must have different names, by which their branches are told apart; another one named '${this.name}' has joined already`,
          { resource: this.name, xid: txn.id },
        );
      }
    }
    const state = txn.options.readOnly === true ? 'readonly' : (options.initialState ?? this.#initialState);
    return new SqlBranch(this, txn, state, options.keepSession ?? this.#keepSession);
  }

  /** @internal A connection for a transaction: the one kept by its context, else one of the pool; of the reader's, where it only reads. */
  acquire(txn: Transaction, readOnly: boolean, cancelled: () => Promise<never>): Promise<SqlConnection> {
    const rehearsed = (txn.manager.sandbox as SqlSandbox | undefined)?.connectionFor(this, txn, cancelled);
    if (rehearsed !== undefined) return rehearsed;
    if (readOnly && this.reader !== undefined) return this.reader.connect(false, cancelled);
    const home = txn.manager.home;
    const kept = this.#kept.size === 0 ? undefined : this.#kept.get(home);
    if (kept === undefined) return this.server.connect(this.twoPhase, cancelled);
    this.#kept.delete(home);
    kept.forget();
    if (kept.connection.broken === undefined) return Promise.resolve(kept.connection);
    kept.connection.release();
    return this.server.connect(this.twoPhase, cancelled);
  }

  /** @internal Takes a connection back at the end of a transaction: keeps it for its context, or gives it to its pool. */
  giveBack(connection: SqlConnection, txn: Transaction, keep: boolean): void {
    if (!keep) return connection.release();
    const home: TransactionManager = txn.manager.home;
    if (!connection.isClean || this.#kept.has(home)) return connection.release();
    const drop = (): void => {
      this.#kept.delete(home);
      // What it was kept for, such as temp tables, is not for the next one to find.
      connection.release(true);
    };
    this.#kept.set(home, { connection, forget: home.onClose(drop) });
    return undefined;
  }

  /**
   * Closes the connection that `keepSession` keeps for this context, with its temp tables and settings. Where its transaction is
   * still open, the connection goes back to the pool at its end.
   */
  close(): void {
    const branch = this.#coordinator.current?.joined(this) as SqlBranch | undefined;
    if (branch !== undefined) branch.keep = false;
    const home = this.#coordinator.home;
    const kept = home === undefined ? undefined : this.#kept.get(home);
    if (kept === undefined) return;
    kept.forget();
    this.#kept.delete(home!);
    kept.connection.release(true);
  }

  /** @internal Identity of this session's branch of a transaction. */
  xidOf(id: string): Xid {
    return { gid: id, branch: this.name };
  }

  /** The branches of this session that are prepared in its database now. */
  async listPrepared(): Promise<Xid[]> {
    const prepared = await this.server.listPrepared();
    return prepared.filter(({ branch }) => branch === this.name);
  }

  /** What is prepared in this session's database, also by sessions of other names. */
  async describePrepared(): Promise<PreparedReport> {
    if (this.server.describePrepared !== undefined) return this.server.describePrepared();
    return { branches: (await this.server.listPrepared()).map((xid) => ({ xid })) };
  }

  /** What keeps recovery from its work here, or soon will; nothing where the session is registered with `twoPhase: false`. */
  async warnings(prefix: string): Promise<ResourceWarning[]> {
    return this.twoPhase === false ? [] : this.server.warnings(prefix, this.name);
  }

  /**
   * Commits a prepared branch of this session. Where nothing is prepared under that id it has been ended before, which is no error
   * (recovery may come twice), and how it ended isn't known here.
   * @throws TransactionError when the server can't be reached in time; the branch then stays as it is.
   */
  async commitPrepared(xid: Xid): Promise<void> {
    await this.server.endPrepared('commit', this.xidOf(xid.gid));
  }

  /** Rolls a prepared branch of this session back; as {@link commitPrepared} in all else. */
  async rollbackPrepared(xid: Xid): Promise<void> {
    await this.server.endPrepared('rollback', this.xidOf(xid.gid));
  }
}
