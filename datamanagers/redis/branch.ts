/**
 * One session's part of one transaction: the data manager that joins on first use. It reads at once, keeps the writes, and applies them by
 * its vote; so it is a last resource. Closed for work once the end begins.
 */
import {
  ConcurrentUseError,
  ConfigurationError,
  TransactionClosed,
  TransactionError,
  toError,
} from '../../coordinator/errors.ts';
import type { Transaction } from '../../coordinator/transaction.ts';
import type {
  Awaitable,
  DataManager,
  DataManagerSavepoint,
  OutboxMessage,
  SandboxConduct,
  SessionState,
  Vote,
} from '../../coordinator/types.ts';
import { PlainBranch } from '../support/branch.ts';
import { Buffered } from './buffered.ts';
import { type Replies, type Watching, commit } from './commit.ts';
import { connectionLost } from './connection.ts';
import type { RedisCore } from './core.ts';
import type { RedisCommand } from './driver.ts';
import { isPassing, isReply } from './errors.ts';
import type { Prepared } from './maker.ts';
import { type Expected, payloadOf } from './outbox.ts';
import { type Write, keyText, settle } from './outcome.ts';
import { type Moment, now } from './resolve.ts';
import type { CommandSender } from './servers.ts';

export class RedisBranch extends PlainBranch implements DataManager {
  readonly sortKey: string;
  /** Redis can't prepare: its vote is its commit (zope 138, 139). */
  readonly lastResource = true;
  readonly #core: RedisCore;
  readonly #detectsWrites: boolean;
  /** Where stored writes wait for their answers. */
  readonly #expected: Expected;
  #marked = false;
  #writes: Write[] = [];
  #watching: Watching | undefined = undefined;
  /** A watch that failed protects nothing: the transaction can't commit then. */
  #unwatched: Error | undefined = undefined;
  /** What is under way, and how to make it fail. */
  readonly #underWay = new Set<(reason: Error) => void>();
  #idle: (() => void)[] = [];
  /** Watching is done one at a time: the first one takes the connection. */
  #lastWatch: Promise<unknown> = Promise.resolve();
  #ended = false;
  #cancelled: Error | undefined = undefined;
  /** When the writes were handed out to be stored. */
  #stored: Moment | undefined = undefined;

  constructor(core: RedisCore, txn: Transaction, state: SessionState, expected: Expected) {
    super(core.name, txn, state);
    this.#expected = expected;
    this.#core = core;
    this.#detectsWrites = core.detectWrites;
    this.sortKey = `~redis:${core.name}`;
  }

  protected override get hasWork(): boolean {
    return this.#marked || (this.#detectsWrites && this.#writes.length > 0);
  }

  /** Whether there is anything to apply, or, where it was marked as changed, anything watched to be checked. */
  get changed(): boolean {
    return !this.#ended && this.state === 'changed' && (this.#writes.length > 0 || this.#watching !== undefined);
  }

  markChanged(): void {
    this.requireWritable('marked as changed');
    this.#marked = true;
  }

  /** Sends a command that only reads; answers with its promise. */
  read(command: RedisCommand): Promise<unknown> {
    this.readAll([command]);
    // Another promise, on which nobody here has looked: an error that is nobody's is to be told, unless a callback was passed.
    return command.callback === undefined ? command.promise.then((value) => value) : command.promise;
  }

  /** Sends commands that only read, in one write; each settles by itself. */
  readAll(commands: readonly RedisCommand[]): void {
    const refusal = this.#refusal();
    for (const command of commands) {
      command.promise.catch(() => undefined);
      if (refusal === undefined) this.#follow(command);
      else command.reject(refusal);
    }
    if (refusal !== undefined) return;
    const here = commands.filter((command) => this.#isWatchedNode(command));
    if (here.length > 0) this.#send(this.#watching!.connection, here);
    const elsewhere = here.length === 0 ? commands : commands.filter((command) => !here.includes(command));
    if (elsewhere.length === 0) return;
    try {
      const reader = this.#core.servers.reader();
      if (!(reader instanceof Promise)) this.#send(reader, elsewhere);
      else
        reader.then(
          (connected) => this.#sendLater(connected, elsewhere),
          (error: Error) => rejectAll(elsewhere, error),
        );
    } catch (thrown) {
      rejectAll(elsewhere, toError(thrown));
    }
  }

  #send(sender: CommandSender, commands: readonly RedisCommand[]): void {
    sender.sendAll(commands, this.#core.readTimeoutMs);
  }

  /** The end may have begun while the connection was waited for. */
  #sendLater(sender: CommandSender, commands: readonly RedisCommand[]): void {
    const refusal = this.#refusal();
    if (refusal === undefined) this.#send(sender, commands);
    else rejectAll(commands, refusal);
  }

  /** What is read after a watch is read where it is watched: so that it is of the same server, and fails with it. */
  #isWatchedNode(command: RedisCommand): boolean {
    const watching = this.#watching;
    if (watching === undefined) return false;
    const slot = this.#slot;
    return slot === undefined || command.getKeys().every((key) => this.#core.servers.slotOf(key) === slot);
  }

  /** Makes its errors what the user is to see, and knows of it until it is answered. */
  #follow(command: RedisCommand): void {
    const reject = command.reject.bind(command);
    command.reject = (error) => reject(this.#explain(error));
    const through = this.#begin((reason) => command.reject(reason));
    command.promise.then(through, through);
  }

  #begin(fail: (reason: Error) => void): () => void {
    this.#underWay.add(fail);
    return () => {
      this.#underWay.delete(fail);
      if (this.#underWay.size > 0) return;
      for (const resolve of this.#idle.splice(0)) resolve();
    };
  }

  #explain(error: Error): Error {
    if (error instanceof TransactionError || isReply(error)) return error;
    return this.#cancelled ?? connectionLost(this.#core.name, error);
  }

  /** Keeps a command that may write. */
  write(prepared: Prepared): Buffered<unknown> {
    const { name, command } = prepared;
    command.promise.catch(() => undefined);
    const keys = command.getKeys();
    try {
      this.requireWritable(`given ${name}, which may write`);
      this.#requireTime();
      this.#requireOneSlot(keys);
    } catch (error) {
      // A callback is told as well.
      command.reject(toError(error));
      throw error;
    }
    this.#writes.push({ name, command, wire: this.#core.maker.wireOf(prepared), keys });
    return new Buffered(command);
  }

  /** Watches keys over a connection of its own, until the transaction ends. */
  watch(command: RedisCommand): Promise<void> {
    command.promise.catch(() => undefined);
    const refusal = this.#refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    let fail!: (reason: Error) => void;
    const cancelled = new Promise<never>((_, reject) => {
      fail = (reason) => {
        reject(reason);
        command.reject(reason);
      };
    });
    cancelled.catch(() => undefined);
    const through = this.#begin(fail);
    const watched = this.#lastWatch
      .then(() => this.#watch(command, cancelled))
      .catch((thrown: unknown) => {
        const error = this.#explain(toError(thrown));
        this.#unwatched ??= error;
        // So that the next attempt goes where the slot is by then.
        this.#core.servers.redirection(error);
        throw error;
      });
    this.#lastWatch = watched.then(through, through);
    return watched;
  }

  async #watch(command: RedisCommand, cancelled: Promise<never>): Promise<void> {
    const { servers, readTimeoutMs } = this.#core;
    const keys = command.getKeys();
    this.#requireOneSlot(keys);
    this.#requireWork();
    if (this.#watching === undefined) {
      const node = await Promise.race([servers.nodeOf(servers.slotOf(keys[0]!)), cancelled]);
      const connection = await node.watchers.take(cancelled);
      this.#watching = { node, connection, keys };
      // Ended meanwhile: nobody else gives it back.
      if (this.#ended) this.#giveBack(false);
      this.#requireWork();
    } else {
      this.#watching = { ...this.#watching, keys: [...this.#watching.keys, ...keys] };
    }
    await this.#watching.connection.send(command, readTimeoutMs);
  }

  /** The slot of what is written and watched; undefined where there is none yet. */
  get #slot(): number | undefined {
    const key = this.#firstKey;
    return key === undefined ? undefined : this.#core.servers.slotOf(key);
  }

  get #firstKey(): string | Buffer | undefined {
    return this.#watching?.keys[0] ?? this.#writes.find(({ keys }) => keys.length > 0)?.keys[0];
  }

  /** @throws ConfigurationError where keys of a cluster are in several slots, which no EXEC can write. */
  #requireOneSlot(keys: readonly (string | Buffer)[]): void {
    const { servers } = this.#core;
    const first = this.#firstKey ?? keys[0];
    if (first === undefined) return;
    const slot = servers.slotOf(first);
    const other = keys.find((key) => servers.slotOf(key) !== slot);
    if (other === undefined) return;
    throw new ConfigurationError(
      `all keys that a transaction writes or watches in a cluster must be in one slot; '${keyText(first)}' and '${keyText(other)}' at '${this.#core.name}' are not: ` +
        `give their names the same hash tag, such as {42}:cart and {42}:stock`,
      { resource: this.#core.name, xid: this.txn.id },
    );
  }

  /** Why no work is taken; undefined where it is. */
  #refusal(): Error | undefined {
    try {
      this.#requireWork();
      return undefined;
    } catch (error) {
      return toError(error);
    }
  }

  #requireWork(): void {
    this.requireOpen();
    this.#requireTime();
  }

  #requireTime(): void {
    const passed = this.#cancelled ?? this.txn.deadline?.passed;
    if (passed !== undefined) throw passed;
  }

  cancel(reason: Error): void {
    this.#cancelled = reason;
    // An EXEC on its way is the decision: it isn't among these.
    for (const fail of this.#underWay) fail(reason);
  }

  tpcBegin(): void {
    this.closed = true;
  }

  commit(): Awaitable<void> {
    if (this.#underWay.size > 0) return this.#refuseUnderWay();
    if (this.#unwatched !== undefined && this.changed) throw this.#unwatched;
    return undefined;
  }

  async #refuseUnderWay(): Promise<never> {
    await new Promise<void>((resolve) => {
      this.#idle.push(resolve);
    });
    throw new ConcurrentUseError(
      `every read and every watch must be awaited before its transaction commits; one at '${this.#core.name}' was still under way, so nothing is committed`,
      { resource: this.#core.name, xid: this.txn.id, phase: 'commit' },
    );
  }

  /** Where a decision is written down, the writes can be stored with it; but what is watched can only be checked by their EXEC. */
  outbox(): readonly OutboxMessage[] | undefined {
    if (!this.changed || this.#watching !== undefined || this.#writes.length === 0) return undefined;
    this.#stored = now();
    return [{ target: this.#core.name, payload: payloadOf(this.#writes) }];
  }

  tpcVote(txn: Transaction): Awaitable<void | Vote> {
    if (txn.isStored(this)) return undefined;
    if (this.changed) return this.#commit();
    this.#end(undefined);
    return 'read-only';
  }

  async #commit(): Promise<void> {
    const writes = this.#writes;
    let replies: Replies;
    try {
      replies = await commit(this.#core, {
        id: this.txn.id,
        commands: writes.map(({ wire }) => wire),
        slot: this.#slot,
        watching: this.#watching,
      });
      const lost = settle(this.#core.name, this.txn.id, writes, replies);
      // Nothing fails because of it, and yet somebody may want to look.
      if (lost !== undefined) this.txn.manager.report(lost);
    } catch (error) {
      this.#end(toError(error));
      throw error;
    }
    this.#writes = [];
    // EXEC has forgotten what was watched.
    this.#giveBack(false);
    this.#end(undefined);
  }

  /** The vote was the commit; or the writes are stored, and are delivered after this. */
  tpcFinish(txn: Transaction): void {
    if (!txn.isStored(this)) return;
    this.#expected.set(txn.id, { writes: this.#writes, since: this.#stored! });
    this.#writes = [];
    this.#end(undefined);
  }

  tpcAbort(): void {
    this.abort();
  }

  /** Drops the writes and gives the connection back. */
  abort(): void {
    this.#end(undefined);
  }

  /** Whether the writes were stored isn't known: there is nothing here to keep, and recovery applies them where they were. */
  hold(): void {
    this.#end(
      new TransactionError(
        `a write is applied when its transaction commits; whether transaction ${this.txn.id} was committed is not known, so this one at '${this.#core.name}' may still be applied, and what it answers will not be known`,
        { resource: this.#core.name, xid: this.txn.id },
      ),
    );
  }

  #end(cause: Error | undefined): void {
    this.closed = true;
    this.#ended = true;
    for (const fail of this.#underWay) fail(this.#refusal()!);
    this.#giveBack(true);
    this.#drop(0, cause);
  }

  /** Writes from the given one on will not be applied. */
  #drop(from: number, cause?: Error): void {
    const dropped = this.#writes.splice(from);
    if (dropped.length === 0) return;
    const error =
      cause ??
      new TransactionClosed(
        `a write is applied when its transaction commits; this one at '${this.#core.name}' was ${this.closed ? 'not committed' : 'undone by the rollback to a savepoint'}`,
        { resource: this.#core.name, xid: this.txn.id },
      );
    for (const { command } of dropped) command.reject(error);
  }

  #giveBack(watches: boolean): void {
    const watching = this.#watching;
    this.#watching = undefined;
    watching?.node.watchers.giveBack(watching.connection, watches);
  }

  savepoint(): DataManagerSavepoint {
    const count = this.#writes.length;
    const marked = this.#marked;
    return {
      // What is watched stays watched: Redis can't forget one key.
      rollback: () => {
        this.#drop(count);
        this.#marked = marked;
      },
    };
  }

  sandboxed(): SandboxConduct {
    return { planned: () => this.#writes.map(({ name, wire: { args } }) => ({ command: name, args })) };
  }

  shouldRetry(error: Error): boolean {
    return isPassing(error);
  }
}

function rejectAll(commands: readonly RedisCommand[], error: Error): void {
  for (const command of commands) command.reject(error);
}
