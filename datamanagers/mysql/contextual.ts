/**
 * A connection for libraries that make their own, and keep them in pools of their own: each of its statements belongs to the transaction
 * of the code that asks for it, and where there is none, to a connection of the plain pool.
 */
import { ConfigurationError } from '../../coordinator/errors.ts';
import type { Enlisting } from '../sql/enlistment.ts';
import { firstWord, wordBehind } from '../sql/scan.ts';
import { type Asked, EnlistedConnection, NO_FIELDS, okHeader } from './client.ts';
import type { EnlistedCommand } from './command.ts';
import { controlIn } from './control.ts';
import type { MysqlCorePool } from './driver.ts';
import type { MysqlAnswer } from './link.ts';
import { PlainStatements } from './plain.ts';
import { lexicon } from './statement.ts';

/** Made by `createConnection` of {@link driverModule}. */
export class ContextualConnection extends EnlistedConnection {
  readonly #plain: PlainStatements;
  /** As in `mysql2`, where libraries look for it. */
  _closing = false;

  constructor(session: Enlisting, pool: MysqlCorePool) {
    super(session, pool, undefined);
    this.#plain = new PlainStatements(pool, (error) => {
      // A library that doesn't listen hears of it by its next statement.
      if (this.listenerCount('error') > 0) this.emit('error', error);
    });
    // Nothing is connected yet: a statement finds its connection when it is asked for.
    process.nextTick(() => this.emit('connect'));
  }

  protected override ask(asked: Asked): Promise<MysqlAnswer> {
    this.#refuseSetting(asked.text);
    // Libraries send it to clean up, also where nothing was begun because the transaction has ended.
    const mayCleanUp = !this.#plain.hasOwn && !this.enlistment.hasOwn;
    if (mayCleanUp && controlIn(asked.text)?.kind === 'rollback') return Promise.resolve([okHeader(), NO_FIELDS]);
    if (!this.#isOutside(asked.text)) return super.ask(asked);
    return saysNothing(asked.text) ? Promise.resolve([okHeader(), NO_FIELDS]) : this.#plain.ask(asked);
  }

  protected override pour(asked: Asked, command: EnlistedCommand): Promise<void> {
    this.#refuseSetting(asked.text);
    return this.#isOutside(asked.text) ? this.#plain.pour(asked, command) : super.pour(asked, command);
  }

  protected override async prepareAt(text: string): Promise<void> {
    if (!this.#isOutside(text)) return super.prepareAt(text);
    const asked: Asked = { method: 'execute', text, send: (core, answer) => core.prepare(text, answer) };
    await this.#plain.ask(asked);
  }

  protected override async pingAt(): Promise<void> {
    if (!this.#isOutside('')) return super.pingAt();
    await this.#plain.ask({ method: 'query', text: '', send: (core, answer) => core.query('do 0', undefined, answer) });
  }

  /** Whether a statement belongs to no transaction of the coordinator. */
  #isOutside(text: string): boolean {
    // What ends another connection can't wait for its turn behind what is under way there.
    if (this.#plain.hasOwn || firstWord(lexicon, text) === 'kill') return true;
    return !this.enlistment.hasOwn && this.enlistment.branch() === undefined;
  }

  #refuseSetting(text: string): void {
    if (!isSetting(text)) return;
    throw new ConfigurationError(
      `a connection of driver() has none of its own at the server, so that a setting would stay on one that others get; '${text.trim().slice(0, 60)}' was not sent to '${this.name}': ` +
        `make the setting for the pool, by its options or pool.on('connection', (connection) => connection.query('SET …')), and tell the library not to make it`,
      { resource: this.name, phase: 'work' },
    );
  }

  /** Ends its use; what it has begun and not ended is rolled back. */
  override release(): void {
    if (this._closing) return;
    this._closing = true;
    this.#plain.end();
    super.release();
    this.emit('end');
  }
}

/** Whether it says what is so anyhow; see {@link controlIn}. */
function saysNothing(text: string): boolean {
  const control = controlIn(text);
  return control?.kind === 'set transaction' && Object.keys(control.modes).length === 0;
}

/** What a SET says that is of no connection, or of one statement or transaction only. */
const OF_NO_CONNECTION: ReadonlySet<string> = new Set([
  'transaction',
  'statement',
  'global',
  'persist',
  'persist_only',
  'password',
  'default',
]);

const OF_SERVER = /^@@(global|persist|persist_only)\b/i;

/** Whether a statement makes a setting of its connection, or a variable: SET and USE. */
function isSetting(text: string): boolean {
  const from = lexicon.skipBlank(text, 0);
  const word = firstWord(lexicon, text);
  if (word === 'use') return true;
  if (word !== 'set' || saysNothing(text)) return false;
  const next = lexicon.skipBlank(text, from + word.length);
  return !OF_NO_CONNECTION.has(wordBehind(lexicon, text, from, word.length)) && !OF_SERVER.test(text.slice(next));
}
