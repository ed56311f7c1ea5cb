// What a kind of database must bring to be tried: its statements, a side that goes through the library, and one by hand.
import type { DecisionLog, TransactionCoordinator } from 'unanimous';
import type { Reply } from './log.ts';
import type { Form, TransactionItem, Use } from './script.ts';

/** A statement as it is sent. */
export interface Request {
  readonly text: string;
  readonly values: unknown[] | undefined;
  readonly form: Form;
}

/**
 * Whatever takes statements. It rejects only with an error that is due to what the library does on its own account, and that passes when all
 * is tried again.
 */
export interface Asks {
  ask(request: Request): Promise<Reply>;
  /** Reads `reads` batches of `size` rows, and closes. */
  readInBatches(request: Request, size: number, reads: number): Promise<Reply>;
}

/** A client that a library would hold. */
export interface HeldClient extends Asks {
  release(): void;
}

/** A database through the library. */
export interface ThroughLibrary {
  via(via: 'session' | 'pool'): Asks;
  take(): Promise<HeldClient>;
  /** How many connections its pool has opened. */
  readonly opened: number;
  /** Throws unless the pool and its connections are as they must be while nothing is done. */
  assertIdle(): Promise<void>;
}

/** The oracle: one plain connection, and statements that anybody would write. */
export interface ByHand extends Asks {
  reconnect(): Promise<void>;
  begin(modes: Pick<TransactionItem, 'isolation' | 'readOnly'>): Promise<void>;
  /** How the first statement has failed since the last rollback, for which the transaction must not be committed; undefined where none has. */
  readonly failure: Reply | undefined;
  /** The error's reply where it fails, as in what follows. */
  savepoint(name: string): Promise<Reply | undefined>;
  rollbackTo(name: string): Promise<void>;
  release(name: string): Promise<void>;
  /** Whatever the database would look at only when it commits. */
  checkDeferred(): Promise<Reply | undefined>;
  commit(): Promise<Reply | undefined>;
  rollback(): Promise<void>;
}

/** Both sides of one database, which are set up alike. */
export interface Sides {
  readonly dialect: Dialect;
  readonly library: ThroughLibrary;
  readonly hand: ByHand;
  /** Where decisions over several databases are written down, where it can be here. */
  readonly decisionLog?: () => DecisionLog;
  /** Returns what sets back, on the library's side, that which a rollback doesn't undo, such as a sequence. */
  remember(): Promise<() => Promise<void>>;
  /** All that is stored on each side. */
  contents(): Promise<{ readonly through: unknown; readonly byHand: unknown }>;
  close(): Promise<void>;
}

/** A kind of database. */
export interface Dialect {
  readonly name: string;
  /** How many statements each of its themes has: what a script is about. */
  readonly themes: readonly number[];
  readonly forms: readonly Form[];
  readonly hasCursors: boolean;
  /** A statement of a theme. */
  request(theme: number, statement: number, use: Use): Request;
  /** A statement that changes something, whatever the state of things is. */
  readonly harmless: string;
  /** What a client is answered for BEGIN, COMMIT and ROLLBACK of its own. */
  answerOf(command: 'BEGIN' | 'COMMIT' | 'ROLLBACK'): Reply;
  /** What is compared of an error. */
  failed(error: Error): unknown;
  /** Whether an error of the library's side is due to what the library does on its own account. */
  isLibrarys(error: Error): boolean;
  /** Empty tables on both sides, and whoever works on them. */
  open(coordinator: TransactionCoordinator): Promise<Sides>;
}
