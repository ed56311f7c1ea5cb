/** One connection to one Redis server. It is used until it is lost, and never comes back. */
import { outside } from '../../coordinator/context.ts';
import { ConfigurationError, ConnectionLostError, TransactionError, toError } from '../../coordinator/errors.ts';
import { watch } from '../sql/watch.ts';
import type { NodeClient, RedisCommand } from './driver.ts';
import { isPassing, isReply } from './errors.ts';
import { type Identity, type IdentitySetup, identify } from './identify.ts';
import type { CommandSender } from './servers.ts';

/** What a connection is opened with. */
export interface ConnectionSetup extends IdentitySetup {
  /** How long it may take until the connection can be used, in milliseconds. */
  readonly acquireTimeoutMs: number;
}

/** What became of a command that was sent. */
export type Reply =
  | { readonly value: unknown; readonly error?: undefined }
  /** The server's own error, or that of a reply that never came. */
  | { readonly error: Error; readonly isLost: boolean };

/** In characters; V8 makes none of more than about 2^29. */
const LONGEST_TEXT = 2 ** 26;

export class RedisConnection implements CommandSender {
  readonly #name: string;
  readonly #client: NodeClient;
  /** See {@link Identity}. */
  readonly id: string | undefined;
  /** See {@link Identity}. */
  readonly life: string | undefined;
  /** Why it was given up here. */
  #cut: Error | undefined = undefined;
  /** What the socket has said last. */
  #failure: Error | undefined = undefined;

  private constructor(name: string, client: NodeClient, identity: Identity) {
    this.#name = name;
    this.#client = client;
    this.id = identity.id;
    this.life = identity.life;
    client.on('error', (error: Error) => {
      this.#failure = error;
    });
  }

  /**
   * Connects `make()`, and finds out who is there.
   * @throws ConnectionLostError when that can't be done in time: nothing was sent then.
   * @throws ConfigurationError when transactions can't work there.
   */
  static open(make: () => NodeClient, setup: ConnectionSetup): Promise<RedisConnection> {
    // Outside of the caller's context, which the connection would keep for life.
    return outside(() => RedisConnection.#open(make, setup));
  }

  static async #open(make: () => NodeClient, setup: ConnectionSetup): Promise<RedisConnection> {
    let lastError: Error | undefined;
    let timer: NodeJS.Timeout | undefined;
    const client = make();
    client.on('error', (error: Error) => {
      lastError = error;
    });
    const tooLate = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`it did not answer within ${setup.acquireTimeoutMs} ms`)),
        setup.acquireTimeoutMs,
      );
    });
    try {
      const ready = client.connect().then(() => identify(setup, (command) => sendTo(client, command)));
      return new RedisConnection(setup.name, client, await Promise.race([ready, tooLate]));
    } catch (error) {
      drop(client);
      if (error instanceof ConfigurationError || isReply(error)) throw error;
      const cause = lastError ?? toError(error);
      // A password that is wrong stays so.
      if (isReply(cause) && !isPassing(cause)) throw cause;
      throw new ConnectionLostError(
        `a transaction needs a connection to Redis; '${setup.name}' could not be reached (${cause.message}), and nothing was sent`,
        { cause, resource: setup.name },
      );
    } finally {
      clearTimeout(timer);
    }
  }

  /** Why it can't be used any more; undefined while it can. */
  get lost(): Error | undefined {
    if (this.#cut !== undefined) return this.#cut;
    return this.#client.status === 'ready' ? undefined : (this.#failure ?? new Error('the connection was closed'));
  }

  get #reason(): Error | undefined {
    return this.#cut ?? this.#failure;
  }

  /** Makes the replies of what was sent over it into what the user gets. */
  get replyContext(): unknown {
    return this.#client.condition;
  }

  /** Sends commands in one write, in order and with nothing of anybody else between them. */
  write(commands: readonly RedisCommand[]): void {
    const client = this.#client;
    const parts: (string | Buffer)[] = [];
    const destination = {
      isPipeline: true,
      destination: { redis: client },
      write: (part: string | Buffer) => parts.push(part),
    };
    try {
      for (const command of commands) sendTo(client, command, destination);
      // Nothing, where the connection is lost: then each of them was refused.
      if (parts.length > 0) client.stream!.write(joined(parts));
    } catch (thrown) {
      // ioredis waits for replies to a part of it, which will not come.
      const error = toError(thrown);
      this.cut(error);
      for (const command of commands) command.reject(error);
    }
  }

  /** Sends commands in one write, each of which settles by itself; cuts the connection where a reply doesn't come in time. */
  sendAll(commands: readonly RedisCommand[], timeoutMs: number): void {
    for (const command of commands) {
      const reject = command.reject.bind(command);
      command.reject = (error) => reject(this.#explain(error));
      const stop = this.#cutUnlessAnswered(timeoutMs);
      command.promise.then(stop, stop);
    }
    this.write(commands);
  }

  /** ioredis says of what was under way that the connection is closed, and not why. */
  #explain(error: Error): Error {
    if (this.lost === undefined || error instanceof TransactionError || isReply(error)) return error;
    return this.lostError(error);
  }

  /** Sends one command, and cuts the connection where the reply doesn't come in time. Answers with the command's promise. */
  send(command: RedisCommand, timeoutMs: number): Promise<unknown> {
    this.sendAll([command], timeoutMs);
    return command.promise;
  }

  /** Sends commands in one write, and waits for all replies, or until the connection is lost. Cuts it where they don't come in time. */
  exchange(commands: readonly RedisCommand[], timeoutMs: number): Promise<Reply[]> {
    if (commands.length === 0) return Promise.resolve([]);
    return new Promise((resolve) => {
      const replies: (Reply | undefined)[] = Array.from(commands, () => undefined);
      let missing = commands.length;
      const stop = this.#cutUnlessAnswered(timeoutMs);
      for (const [index, command] of commands.entries()) {
        this.#answer(command, (reply) => {
          if (replies[index] !== undefined) return;
          replies[index] = reply;
          if (--missing > 0) return;
          stop();
          resolve(replies as Reply[]);
        });
      }
      this.write(commands);
    });
  }

  /** Calls `answered` with what becomes of a command. */
  #answer(command: RedisCommand, answered: (reply: Reply) => void): void {
    let isLost = false;
    const settled = (error: Error): void => answered({ error: isLost ? (this.#reason ?? error) : error, isLost });
    const reject = command.isRaw === true ? settled : command.reject.bind(command);
    command.reject = (error) => {
      // Whether an error is the server's is seen when it comes: ioredis rejects what is under way once the connection has ended.
      isLost = this.#client.status !== 'ready' || !isReply(error);
      reject(error);
    };
    if (command.isRaw === true) command.resolve = (value) => answered({ value });
    else command.promise.then((value) => answered({ value }), settled);
  }

  #cutUnlessAnswered(timeoutMs: number): () => void {
    let answered = false;
    const forget = watch(timeoutMs, () => {
      // Where it was this process that had no time, the reply is there already, and read before this.
      setImmediate(() => {
        if (!answered) this.cut(new Error(`no answer came within ${timeoutMs} ms`));
      });
    });
    return () => {
      answered = true;
      forget();
    };
  }

  /** Cuts it: what is under way fails, and its outcome isn't known. */
  cut(reason: Error): void {
    this.#cut ??= reason;
    drop(this.#client);
  }

  /** Takes nothing more, and closes it when what is under way has been answered. */
  retire(reason: Error, timeoutMs: number): void {
    if (this.lost !== undefined) return;
    this.#cut = reason;
    const stop = this.#cutUnlessAnswered(timeoutMs);
    const through = (): void => {
      stop();
      drop(this.#client);
    };
    this.#client.quit().then(through, through);
  }

  /** The error of a command that can't be sent any more, or whose reply is lost. */
  lostError(error: Error): ConnectionLostError {
    return connectionLost(this.#name, this.#reason ?? error);
  }
}

/** The error of a connection of the session `name` that is gone. */
export function connectionLost(name: string, cause: Error): ConnectionLostError {
  if (cause instanceof ConnectionLostError) return cause;
  return new ConnectionLostError(
    `a transaction needs its connection to Redis; that of '${name}' is gone (${cause.message}), and nothing was applied`,
    { cause, resource: name },
  );
}

function drop(client: NodeClient): void {
  // Where it has ended, ioredis would wait for a stream that is closed.
  if (client.status === 'end') return;
  client.disconnect();
  client.stream?.destroy();
}

/** Texts stay texts, which are written faster, as long as they make one that isn't too long. */
function joined(parts: readonly (string | Buffer)[]): string | Buffer {
  let length = 0;
  for (const part of parts) {
    if (typeof part !== 'string') return Buffer.concat(parts.map((each) => Buffer.from(each as string)));
    length += part.length;
  }
  return length < LONGEST_TEXT ? parts.join('') : Buffer.concat(parts.map((each) => Buffer.from(each as string)));
}

function sendTo(client: NodeClient, command: RedisCommand, destination?: object): void {
  const sent = client.sendCommand(command, destination);
  // Where somebody traces commands, it is another promise, which nobody else looks at.
  if (sent !== command.promise && sent instanceof Promise) sent.catch(() => undefined);
  // What it rejects with is told by whoever made the command.
  if (command.isRaw !== true) command.promise.catch(() => undefined);
}
