/**
 * Who has the connection of a branch to itself: a client with a transaction of its own inside of the branch's, or a cursor or stream
 * that is being read. What others ask for meanwhile waits for its turn, as a rollback to the client's savepoint would take it along;
 * and for a bounded time, as it may be what the client itself waits for.
 */
import { ConcurrentUseError, TransactionClosed } from '../../coordinator/errors.ts';

/** What can have the connection. */
export type TurnKind = 'transaction' | 'stream';

/** Somebody has the connection. The open ones form a stack: a stream may be read inside of a client's transaction. */
export interface Turn {
  readonly parent: Turn | undefined;
  readonly kind: TurnKind;
  /** Why nothing more may be done in it: it was rolled back from outside. */
  lost: Error | undefined;
  /** Its end is on the way, and needs nothing more from whoever has it. Rejects where it could not be ended. */
  ending: Promise<void> | undefined;
}

interface Waiting {
  readonly turn: Turn | undefined;
  readonly go: () => void;
  readonly refuse: (error: Error) => void;
}

export class Turns {
  readonly #resource: string;
  readonly #xid: string;
  readonly #limitMs: number;
  #current: Turn | undefined = undefined;
  #waiting: Waiting[] = [];

  /** `limitMs` is how long others wait for one turn to end, in milliseconds. */
  constructor(resource: string, xid: string, limitMs: number) {
    this.#resource = resource;
    this.#xid = xid;
    this.#limitMs = limitMs;
  }

  /** Whose turn it is; undefined where anybody may work. */
  get current(): Turn | undefined {
    return this.#current;
  }

  /** Takes the connection, inside of the turn that has it now. */
  open(kind: TurnKind): Turn {
    this.#current = { parent: this.#current, kind, lost: undefined, ending: undefined };
    return this.#current;
  }

  /** Gives it back, with all that was opened inside, and lets those go on that waited for it. */
  close(turn: Turn): void {
    let open = this.#current;
    while (open !== undefined && open !== turn) open = open.parent;
    if (open === undefined) return;
    this.#current = turn.parent;
    this.#wake();
  }

  /**
   * Calls `go` when it is the turn of `turn`.
   * @throws ConcurrentUseError when that takes too long, or what {@link refuse} is given.
   */
  wait<T>(turn: Turn | undefined, go: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      let timer: NodeJS.Timeout;
      const entry: Waiting = {
        turn,
        go: () => {
          clearTimeout(timer);
          resolve(go());
        },
        refuse: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const watch = (holder: Turn): void => {
        timer = setTimeout(() => {
          // Where another one has the connection by now, nothing is stuck.
          if (this.#current !== holder) return watch(this.#current!);
          this.#waiting = this.#waiting.filter((other) => other !== entry);
          return reject(this.#tooLong(holder));
        }, this.#limitMs);
      };
      watch(this.#current!);
      this.#waiting.push(entry);
    });
  }

  /** In the order in which they came; one of them may take the connection. */
  #wake(): void {
    for (;;) {
      const index = this.#waiting.findIndex(({ turn }) => turn === this.#current);
      if (index < 0) return;
      this.#waiting.splice(index, 1)[0]!.go();
    }
  }

  /** Refuses all that wait, and returns how many did. */
  refuse(error: Error): number {
    const refused = this.#waiting.splice(0);
    for (const { refuse } of refused) refuse(error);
    return refused.length;
  }

  /** Takes the connection from whoever has it: what was done in those turns is being rolled back. */
  revoke(): void {
    if (this.#current === undefined) return;
    const error = new TransactionClosed(
      `work behind a savepoint must be done before that is rolled back; the transaction was rolled back to one on '${this.#resource}' that is older than this work, which is undone`,
      { resource: this.#resource, xid: this.#xid, phase: 'savepoint' },
    );
    for (let open: Turn | undefined = this.#current; open !== undefined; open = open.parent) open.lost = error;
    this.#current = undefined;
    this.refuse(error);
  }

  #tooLong({ kind }: Turn): ConcurrentUseError {
    const [why, so] =
      kind === 'stream'
        ? [
            'while a cursor or stream is open, nothing else can be sent on its connection',
            'read it to its end or close it first, or read it outside of the transaction',
          ]
        : [
            'while a client has a transaction of its own inside of this one, nothing but its own statements may run, as its rollback would take others along',
            "inside of a library's transaction use the handle that it gives for every statement, or await it first",
          ];
    return new ConcurrentUseError(
      `${why}; on '${this.#resource}' a statement waited for its end for ${this.#limitMs} ms (acquireTimeoutMs): ${so}`,
      { resource: this.#resource, xid: this.#xid, phase: 'work' },
    );
  }

  /** The error of a commit while a client has a transaction of its own. */
  stillOpen(): ConcurrentUseError {
    return new ConcurrentUseError(
      `every transaction that a client has begun inside of this one must have ended before this one commits; on '${this.#resource}' one is still open, so nothing is committed: await it first`,
      { resource: this.#resource, xid: this.#xid, phase: 'commit' },
    );
  }
}
