/** The statements of a client without a connection of its own, outside of any transaction of the coordinator. */
import { statementOf } from '../sql/statement.ts';
import { checkOut, listen } from './check-out.ts';
import { controlIn } from './client.ts';
import type { PgClient, PgPool, PgQueryConfig, PgResult, PgSubmittable } from './driver.ts';
import { tell } from './query.ts';

type PlainPool = PgPool & { query(config: string | PgQueryConfig, values?: unknown[]): Promise<PgResult> };

/** Each runs on a connection of the plain pool; those of a transaction that the client has begun on the same one. */
export class PlainStatements {
  readonly #pool: PlainPool;
  readonly #lost: (error: Error) => void;
  /** The connection on which the client has begun. */
  #held: PgClient | undefined = undefined;
  /** Statements of one client run one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #underWay = 0;

  /** `lost` is told when the connection of the client's transaction dies between two statements. */
  constructor(pool: PgPool, lost: (error: Error) => void) {
    this.#pool = pool as PlainPool;
    this.#lost = lost;
  }

  /** Whether the client has begun here, or waits for what it has asked for. */
  get isInUse(): boolean {
    return this.#held !== undefined || this.#underWay > 0;
  }

  /** Runs a statement. */
  run(text: string | undefined, config: string | PgQueryConfig, values: unknown[] | undefined): Promise<PgResult> {
    return this.#inTurn(async () => {
      const begins = text !== undefined && statementOf(text).control !== undefined;
      if (this.#held === undefined && !begins) return this.#pool.query(config, values);
      const client = this.#held ?? (await this.#hold());
      const kind = text === undefined ? undefined : controlIn(text)?.kind;
      const ends = kind === 'commit' || kind === 'rollback';
      try {
        const result = (await client.query(config, values)) as PgResult;
        if (ends || client.getTransactionStatus?.() === 'I') this.#giveBack();
        return result;
      } catch (error) {
        // In a failed transaction the client's ROLLBACK is still to come.
        if (ends || kind === 'begin') this.#giveBack(error as Error);
        throw error;
      }
    });
  }

  /** A cursor or stream. */
  submit(submittable: PgSubmittable): void {
    const through = this.#inTurn(async () => {
      const wasHeld = this.#held !== undefined;
      const client = this.#held ?? (await this.#hold());
      await new Promise<void>((resolve) => {
        client.once('drain', resolve);
        client.once('end', resolve);
        client.query(submittable);
      });
      if (!wasHeld) this.#giveBack();
    });
    through.catch((error: Error) => tell(submittable, error));
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    this.#underWay++;
    const done = this.#last.then(work).finally(() => this.#underWay--);
    this.#last = done.catch(() => undefined);
    return done;
  }

  async #hold(): Promise<PgClient> {
    const client = await checkOut(this.#pool);
    this.#held = client;
    listen(client, this.#onError);
    return client;
  }

  readonly #onError = (error: Error): void => {
    this.#giveBack(error);
    this.#lost(error);
  };

  #giveBack(error?: Error | boolean): void {
    const client = this.#held;
    if (client === undefined) return;
    this.#held = undefined;
    client.release(error);
    client.removeListener('error', this.#onError);
  }

  /** Ends what is open, which closes its connection. */
  end(): void {
    this.#giveBack(true);
  }
}
