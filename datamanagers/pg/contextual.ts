/**
 * A client for libraries that make their own, and keep them in pools of their own: each of its statements belongs to the transaction of
 * the code that asks for it, and where there is none, to a connection of the plain pool.
 */
import { EventEmitter } from 'node:events';
import { ConfigurationError } from '../../coordinator/errors.ts';
import type { Enlisting } from '../sql/enlistment.ts';
import { wordAt } from '../sql/scan.ts';
import { lexicon } from '../sql/statement.ts';
import { EnlistedClient, controlIn, resultOf } from './client.ts';
import type { PgPool, PgQueryConfig, PgResult, PgSubmittable, PgTypes } from './driver.ts';
import { PlainStatements } from './plain.ts';
import { type Callback, answer, isSubmittable } from './query.ts';

/** Made by the `Client` of {@link driverModule}. */
export class ContextualClient extends EnlistedClient {
  /** Libraries listen here for what a server says when it is connected to; it never says anything. */
  readonly connection: EventEmitter = new EventEmitter();
  readonly #plain: PlainStatements;
  /** As in `pg`, where libraries look for it. */
  _ending = false;

  constructor(session: Enlisting, pool: PgPool, types: PgTypes | undefined) {
    super(session, pool, undefined, types);
    this.#plain = new PlainStatements(pool, (error) => {
      // A library that doesn't listen hears of it by its next statement.
      if (this.listenerCount('error') > 0) this.emit('error', error);
    });
  }

  /** Connects nothing yet: a statement finds its connection when it is asked for. */
  connect(callback?: Callback<unknown>): Promise<unknown> | undefined {
    return answer(Promise.resolve(this), callback);
  }

  override query(
    config: string | PgQueryConfig | PgSubmittable,
    values?: unknown[] | Callback<PgResult>,
    callback?: Callback<PgResult>,
  ): unknown {
    if (!isSubmittable(config) || !this.#isOutside()) return super.query(config, values, callback);
    this.#plain.submit(config);
    return config;
  }

  override run(
    text: string | undefined,
    config: string | PgQueryConfig,
    values: unknown[] | undefined,
  ): Promise<PgResult> {
    if (text !== undefined && isSetting(text)) throw this.#settingError(text);
    // Libraries send it to clean up, also where nothing was begun because the transaction has ended.
    const mayCleanUp = text !== undefined && !this.#plain.isInUse && !this.enlistment.hasOwn;
    if (mayCleanUp && controlIn(text)?.kind === 'rollback') return Promise.resolve(resultOf('ROLLBACK'));
    return this.#isOutside() ? this.#plain.run(text, this.typed(config), values) : super.run(text, config, values);
  }

  /** Whether the next statement belongs to no transaction of the coordinator. */
  #isOutside(): boolean {
    if (this.#plain.isInUse) return true;
    return !this.enlistment.hasOwn && this.enlistment.branch() === undefined;
  }

  #settingError(text: string): ConfigurationError {
    const statement = text.trim().slice(0, 60);
    return new ConfigurationError(
      `a client of driver() has no connection of its own, so that a setting would stay on one that others get; '${statement}' was not sent to '${this.name}': ` +
        `make the setting for the pool, new pg.Pool({ options: '-c TimeZone=UTC' }), and tell the library not to make it`,
      { resource: this.name, phase: 'work' },
    );
  }

  /** Ends its use; what it has begun and not ended is rolled back. */
  end(callback?: Callback<unknown>): Promise<unknown> | undefined {
    if (!this._ending) {
      this._ending = true;
      this.#plain.end();
      this.enlistment.release();
      this.emit('end');
    }
    return answer(Promise.resolve(undefined), callback);
  }
}

/** Whether a statement makes a setting that outlasts its transaction: SET, RESET and DISCARD, but for SET LOCAL and its like. */
function isSetting(text: string): boolean {
  const from = lexicon.skipBlank(text, 0);
  const word = wordAt(text, from);
  if (word === 'reset' || word === 'discard') return true;
  return word === 'set' && !LOCAL.has(wordAt(text, lexicon.skipBlank(text, from + word.length)));
}

const LOCAL: ReadonlySet<string> = new Set(['local', 'transaction', 'constraints']);
