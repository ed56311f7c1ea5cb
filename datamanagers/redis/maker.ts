/** Makes commands as the application's client does, without sending them: names, arguments, key prefix, replies are ioredis' own affair. */
import { ConfigurationError, describe } from '../../coordinator/errors.ts';
import type { RedisClient, RedisCommand, RedisCommandClass } from './driver.ts';

/** A client's definition of a custom command. */
export interface ScriptDefinition {
  /** The script. */
  lua: string;
  /** How many of the arguments are keys; without it, the first argument says so. */
  numberOfKeys?: number;
}

type Recorder = RedisClient &
  Record<string, (...args: unknown[]) => RedisCommand> & {
    readonly scriptsSet: Scripts;
    readonly addedBuiltinSet: ReadonlySet<string>;
  };
type Scripts = Record<string, { readonly lua: string }>;

/** A command that was made, and not yet sent or kept. */
export interface Prepared {
  /** The name in lower case, or that of a custom command. */
  readonly name: string;
  readonly command: RedisCommand;
  readonly isRead: boolean;
  /** Whether it is a custom command. */
  readonly isScript: boolean;
}

/** What is sent for a command. */
export interface WireCommand {
  readonly name: string;
  readonly args: readonly (string | Buffer)[];
}

export class CommandMaker {
  /** The client, but that it hands out a command where it would send it. */
  readonly #recorder: Recorder;
  /** ioredis' class of commands, in the application's version. */
  readonly #Command: RedisCommandClass;
  /** The same, without what a promise takes for each. */
  readonly #RawCommand: RedisCommandClass;

  constructor(client: RedisClient) {
    const { scriptsSet } = client as unknown as Recorder;
    this.#recorder = Object.create(client, {
      options: { value: { ...client.options, enableAutoPipelining: false } },
      // Its own, so that what is defined here is not defined there.
      scriptsSet: { value: { ...scriptsSet } },
      sendCommand: { value: (command: RedisCommand) => command },
    }) as Recorder;
    this.#Command = this.#recorder['ping']!().constructor as RedisCommandClass;
    this.#RawCommand = rawClass(this.#Command);
  }

  /** The names of all commands, and of those that were added to the client until now. */
  get names(): string[] {
    const { addedBuiltinSet, scriptsSet } = this.#recorder;
    return [...this.#recorder.getBuiltinCommands(), ...addedBuiltinSet, ...Object.keys(scriptsSet)];
  }

  /** Makes a custom command known. */
  define(name: string, definition: ScriptDefinition): void {
    this.#recorder.defineCommand(name, definition);
  }

  /** What `client[method](...args)` would send, with its promise and, where one was passed, its callback. */
  make(method: string, args: unknown[]): RedisCommand {
    return this.#recorder[method]!(...args);
  }

  /** A stream of ioredis that is fed by `read`, which sends a command. */
  stream(method: string, args: unknown[], read: (command: RedisCommand) => unknown): unknown {
    const make = (name: string) => ({ value: (...given: unknown[]) => read(this.make(name, given)) });
    const names = ['scan', 'sscan', 'hscan', 'zscan'].flatMap((name) => [name, `${name}Buffer`]);
    const scanner = Object.create(
      this.#recorder,
      Object.fromEntries(names.map((name) => [name, make(name)])),
    ) as Recorder;
    return scanner[method]!(...args);
  }

  /** Whether it is a custom command: a script by a name. */
  isScript(name: string): boolean {
    return Object.hasOwn(this.#recorder.scriptsSet, name);
  }

  /**
   * What is sent for a command; a copy, so that nothing that happens until the commit changes it. A script is sent as a whole: whether the
   * server remembers it would show inside of EXEC, when other commands have been applied.
   */
  wireOf({ name, command, isScript }: Prepared): WireCommand {
    const args = command.args.map((arg) => (typeof arg === 'string' ? arg : Buffer.from(arg)));
    if (!isScript) return { name: command.name, args };
    return { name: 'eval', args: [this.#recorder.scriptsSet[name]!.lua, ...args.slice(1)] };
  }

  /** A command to be sent as it is by `exchange`, answered with the server's reply as it comes: texts as Buffers. */
  raw({ name, args }: WireCommand): RedisCommand {
    return new this.#RawCommand(name, args, { replyEncoding: null });
  }

  /** A command to be sent as it is, answered with texts. */
  plain(name: string, ...args: (string | Buffer)[]): RedisCommand {
    return new this.#Command(name, args, { replyEncoding: 'utf8' });
  }
}

/** What the promises of raw commands are: nobody waits for one. */
const nothing = Promise.resolve();

/** What ioredis does when a command is made, but that it makes a promise. */
function rawClass(Command: RedisCommandClass): RedisCommandClass {
  return class extends (Command as new (...args: ConstructorParameters<RedisCommandClass>) => RedisCommand & {
    stringifyArguments(): void;
  }) {
    override get isRaw(): boolean {
      return true;
    }

    /** Called by the constructor. */
    initPromise(): void {
      this.stringifyArguments();
      this.promise = nothing;
    }
  };
}

/** @throws ConfigurationError unless it is a client of ioredis. */
export function checkClient(client: unknown): asserts client is RedisClient {
  const candidate = client as
    | Partial<Record<keyof RedisClient | 'sendCommand' | 'scriptsSet', unknown>>
    | null
    | undefined;
  const isClient =
    typeof candidate === 'object' &&
    candidate !== null &&
    typeof candidate.options === 'object' &&
    typeof candidate.scriptsSet === 'object' &&
    typeof candidate.duplicate === 'function' &&
    typeof candidate.sendCommand === 'function' &&
    typeof candidate.getBuiltinCommands === 'function';
  if (!isClient) {
    throw new ConfigurationError(
      `a Redis session needs a client of ioredis, new Redis(…) or new Cluster(…), not ${describe(client)}`,
    );
  }
}
