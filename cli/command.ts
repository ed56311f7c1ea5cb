/** What a command of the command line is. */
import type { Deployment } from './configuration.ts';
import type { MessageId } from './gid.ts';
import type { Secrets } from './secrets.ts';

/** What a command works with. */
export interface Context {
  readonly deployment: Deployment;
  readonly secrets: Secrets;
  /** The transaction that the command is about, where it takes one. */
  readonly gid: string;
  /** The messages that it is about, where it takes any. */
  readonly messages: readonly MessageId[];
  readonly force: boolean;
  /** Who runs it: `user@host`. */
  readonly by: string;
  /** Tells people, a line at a time; says nothing where JSON was asked for. */
  readonly say: (line?: string) => void;
}

/** How a command ended. */
export interface Result {
  readonly exitCode: number;
  /** What scripts read. */
  readonly json: object;
}

export interface Command {
  /** A word, or two. */
  readonly name: string;
  /** Whether it is about one transaction. */
  readonly takesGid: boolean;
  /** Whether it is about messages of the outbox. */
  readonly takesMessages?: true;
  /** Whether it can be forced. */
  readonly takesForce: boolean;
  /** In a line. */
  readonly summary: string;
  /** What it does, for terminals: lines of at most 78 characters. */
  readonly help: string;
  readonly run: (context: Context) => Promise<Result>;
}
