/** Redis: a session over a client of ioredis. */
import { ConfigurationError, TransactionStateError, describe } from '../../coordinator/errors.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type {
  JoinOptions,
  MarkChangedOptions,
  OutboxTarget,
  RegisterOptions,
  ResourceWarning,
  SessionState,
  StoredMessage,
} from '../../coordinator/types.ts';
import { PlainSession } from '../support/session.ts';
import { RedisBranch } from './branch.ts';
import type { Buffered } from './buffered.ts';
import { check } from './check.ts';
import { adviceOn, isRead, leastArgumentsOf } from './commands.ts';
import type { RedisCore } from './core.ts';
import type { RedisClient, RedisCommand } from './driver.ts';
import type { Prepared, ScriptDefinition } from './maker.ts';
import { type CommandMethod, addMethods, addStreams } from './methods.ts';
import { type RedisSessionOptions, checkSessionOptions, coreOf } from './options.ts';
import { type Expected, deliver, postpone } from './outbox.ts';
import { warningsOf } from './warnings.ts';
import { type PipelineSession, RedisPipeline } from './pipeline.ts';
import type { CallResult, ChainableCommander, RedisCommands, RedisKey } from './surface.ts';

/** The commands of ioredis: those that read answer with promises, as there; those that may write with a {@link Buffered}. */
// oxlint-disable-next-line typescript/no-unsafe-declaration-merging -- the constructor adds these methods, whose names are the client's
export interface RedisSession extends RedisCommands {}

/**
 * Redis in the transactions of this process: one server, the master that sentinels know, or a cluster. Made once.
 *
 * Inside a transaction, commands that only read are sent at once; they see what is stored, and nothing of what this transaction has written.
 * Commands that may write are kept, and applied together by MULTI and EXEC when all other resources have voted yes: Redis can't prepare, so
 * it is a last resource, of which a transaction can have one. {@link watch} makes the commit depend on what was read.
 *
 * The session has connections of its own, made by the client's `duplicate()`. ioredis 5.4 or later, Redis 6.2 or later.
 */
export class RedisSession extends PlainSession<RedisBranch> implements OutboxTarget {
  readonly #core: RedisCore & { detectWrites: boolean };
  readonly #expected: Expected = new Map();
  readonly #Pipeline: new (session: PipelineSession) => RedisPipeline;

  /**
   * @param client a client of ioredis; it stays the application's, which ends it. Only its options are used.
   * @throws ConfigurationError when `client` is none of ioredis, or for unknown or impossible options.
   */
  constructor(client: RedisClient, options: RedisSessionOptions = {}) {
    checkSessionOptions(client, options);
    super(options.name ?? 'redis');
    this.#core = coreOf(client, this.name, options);
    // A class of its own, because the commands depend on the client.
    this.#Pipeline = class extends RedisPipeline {};
    const { maker } = this.#core;
    this.#addCommands(maker.names);
    addStreams(this, (method, args) => {
      const branch = this.branch();
      return maker.stream(method, args, (command) => branch.read(command));
    });
  }

  #addCommands(names: readonly string[]): void {
    addMethods(this, names, (method, name, args) => this.#run(method, name, args));
    const add: CommandMethod = function (this: RedisPipeline, method, name, args) {
      return this.add(method, name, args);
    };
    addMethods(this.#Pipeline.prototype as object, [...names, 'call'], add);
  }

  /** Called by `register`. Holds for transactions that the session joins from now on. */
  override configure(options: RegisterOptions): void {
    if (options.twoPhase === true) {
      throw new ConfigurationError(
        `what is registered with twoPhase: true must be able to prepare; Redis can't, so '${this.name}' is a last resource: leave the option out`,
        { resource: this.name },
      );
    }
    this.#refuseKeeping(options.keepSession);
    if (options.detectWrites !== undefined) this.#core.detectWrites = options.detectWrites;
    super.configure({ initialState: options.initialState, coordinator: options.coordinator });
  }

  #refuseKeeping(keepSession: boolean | undefined): void {
    if (keepSession !== true) return;
    throw new ConfigurationError(
      `keepSession keeps what belongs to a connection, such as temporary tables; Redis has nothing of that kind, so '${this.name}' refuses it: leave the option out`,
      { resource: this.name },
    );
  }

  /**
   * Says that there is something to commit; see `markChanged`. Where nothing was written and something is watched, the commit then
   * depends on that being unchanged.
   */
  override markChanged(options: MarkChangedOptions = {}): void {
    this.#refuseKeeping(options.keepSession);
    this.branch().markChanged();
  }

  /** Joins the current transaction before the first command does; see `joinTransaction`. */
  override joinTransaction(options: JoinOptions = {}): void {
    this.#refuseKeeping(options.keepSession);
    const branch = this.branch(options.initialState);
    if (options.initialState === 'changed') branch.markChanged();
  }

  /** @internal */
  protected open(txn: Transaction, state: SessionState): RedisBranch {
    for (const other of txn.resources) {
      if (other instanceof RedisBranch && other.name === this.name) {
        throw new ConfigurationError(
          `the sessions of a transaction must have different names, by which their tokens are told apart; another one named '${this.name}' has joined already`,
          { resource: this.name, xid: txn.id },
        );
      }
    }
    return new RedisBranch(this.#core, txn, state, this.#expected);
  }

  /** A message that was applied has left its token. */
  readonly knowsAgain = true;

  /** Applies writes that were stored with a decision: once, however often it is called with the same message. */
  deliver(message: StoredMessage): Promise<void> {
    return deliver(this.#core, message, this.#expected);
  }

  /** Warns of a server that keeps nothing on disk. */
  warnings(): Promise<ResourceWarning[]> {
    return warningsOf(this.#core);
  }

  /** @internal Whoever waits for the answers of stored writes hears that they are applied later. */
  postponed(gid: string, reason: Error): void {
    postpone(gid, reason, this.#expected);
  }

  /**
   * Watches keys from now on: the transaction commits only if nobody else changes them until then, and is tried again otherwise
   * (WatchConflictError). Takes a connection for the rest of the transaction. What is to be protected has to be read after it.
   *
   * @throws AcquireTimeoutError when too many transactions watch, ConnectionLostError when the server can't be reached.
   * @throws ConfigurationError where keys of a cluster are in another slot than those watched or written before.
   */
  async watch(...keys: (RedisKey | RedisKey[])[]): Promise<void> {
    if (keys.flat().length === 0) {
      throw new ConfigurationError(`watch() takes the keys to be watched; at '${this.name}' there were none`, {
        resource: this.name,
      });
    }
    const branch = this.branch();
    return branch.watch(this.#core.maker.make('watch', keys));
  }

  /** Any command by its name, such as one of a module. What isn't known to only read is kept until the transaction commits. */
  call<Name extends string>(command: Name, ...args: unknown[]): CallResult<Name> {
    return this.#run('call', 'call', [command, ...args]) as CallResult<Name>;
  }

  /** The same, answered with Buffers. */
  callBuffer<Name extends string>(command: Name, ...args: unknown[]): CallResult<Name> {
    return this.#run('callBuffer', 'call', [command, ...args]) as CallResult<Name>;
  }

  /**
   * Several commands at once. Its `exec()` sends those that only read in one write, and keeps the others; each of the latter is answered
   * with the {@link Buffered} that its method returns elsewhere.
   */
  pipeline(commands: readonly (readonly unknown[])[] = []): ChainableCommander {
    const session: PipelineSession = {
      name: this.name,
      prepare: (method, name, args) => this.#prepare(method, name, args),
      branch: () => this.branch(),
    };
    return new this.#Pipeline(session).addBatch(commands) as unknown as ChainableCommander;
  }

  /** Makes a custom command: a script that is kept as other writes are, and sent as a whole. Those of the client are known already. */
  defineCommand(name: string, definition: ScriptDefinition): void {
    this.#core.maker.define(name, definition);
    this.#addCommands([name]);
  }

  #run(method: string, name: string, args: unknown[]): Promise<unknown> | Buffered<unknown> {
    const prepared = this.#prepare(method, name, args);
    if (!prepared.isRead) return this.branch().write(prepared);
    const { command } = prepared;
    try {
      return this.branch().read(command);
    } catch (error) {
      // By the command, so that a callback is told as well.
      command.reject(error as Error);
      return command.promise;
    }
  }

  /** Makes the command that a method is called for. @throws TransactionStateError where it has no place in a transaction. */
  #prepare(method: string, name: string, args: unknown[]): Prepared {
    const { maker } = this.#core;
    const called = name === 'call' ? this.#calledName(args[0]) : name;
    this.#refuse(called, adviceOn(called));
    const command = maker.make(method, args);
    this.#requireArguments(called, command);
    this.#refuse(called, adviceOn(called, command.args));
    const isScript = name !== 'call' && maker.isScript(name);
    const least = isScript ? 0 : leastArgumentsOf(called);
    if (command.args.length < least) {
      throw new ConfigurationError(
        `${called} takes at least ${least} ${least === 1 ? 'argument' : 'arguments'}; at '${this.name}' it was given ${command.args.length}, and was not kept`,
        { resource: this.name, phase: 'work' },
      );
    }
    return { name: called, command, isRead: !isScript && isRead(called), isScript };
  }

  /** What can't be sent must not be found out in the middle of a commit. */
  #requireArguments(called: string, command: RedisCommand): void {
    const isSendable = (arg: unknown): boolean => typeof arg === 'string' || Buffer.isBuffer(arg);
    // Keys beyond the end are undefined.
    if (command.getKeys().every(isSendable) && command.args.every(isSendable)) return;
    command.promise.catch(() => undefined);
    throw new ConfigurationError(
      `the arguments of a command must be texts, numbers or Buffers, and as many as it says; those of ${called} at '${this.name}' are not, and it was not sent`,
      { resource: this.name, phase: 'work' },
    );
  }

  #calledName(name: unknown): string {
    if (typeof name === 'string') return name.toLowerCase();
    throw new ConfigurationError(`call() takes the name of a command, not ${describe(name)}`, { resource: this.name });
  }

  #refuse(command: string, advice: string | undefined): void {
    if (advice === undefined) return;
    throw new TransactionStateError(
      `${command} has no place in a transaction: ${advice}; it was not sent to '${this.name}'`,
      {
        resource: this.name,
        phase: 'work',
      },
    );
  }

  /**
   * Checks that the server can be reached, is a master, and lets the session write its token; to be called when a service starts. Warns where
   * the user may not do what it takes to find out that a commit whose reply was lost did not happen.
   *
   * @throws ConnectionLostError, ConfigurationError
   */
  check(): Promise<void> {
    return check(this.#core);
  }

  /** Closes the session's connections, and sends nothing more. To be called when no transaction is open; the client is left as it is. */
  close(): Promise<void> {
    this.#core.servers.close();
    return Promise.resolve();
  }
}
