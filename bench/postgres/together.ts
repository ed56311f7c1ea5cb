// What our sessions put into one flight, written by hand: what could be had at best of `pg`.
import pg from 'pg';

/** A part of pg that its types don't declare. */
interface Wire {
  parse(message: { name?: string; text: string }): void;
  bind(message: { statement?: string }): void;
  execute(message: object): void;
  sync(): void;
}

/** A statement without parameters that travels behind another one, and under which name, if any. */
export interface Behind {
  readonly name?: string;
  readonly text: string;
}

type Told = (error: Error | null | undefined, result: pg.QueryResult) => void;

type QueryClass = new (
  config: pg.QueryConfig,
  values: undefined,
  callback: Told,
) => {
  prepare(wire: Wire): void;
  _getRows(wire: Wire, rows: number | undefined): void;
  handleDataRow(message: unknown): void;
  handleCommandComplete(message: unknown, wire: Wire): void;
};

const prepared = new WeakMap<Wire, Set<string>>();

/** A statement with others ahead of it and behind it, and one Sync behind all. */
class Together extends (pg.Query as unknown as QueryClass) {
  readonly #ahead: readonly string[];
  readonly #behind: readonly Behind[];
  #at = 0;

  constructor(ahead: readonly string[], config: pg.QueryConfig, behind: readonly Behind[], callback: Told) {
    super(config, undefined, callback);
    this.#ahead = ahead;
    this.#behind = behind;
  }

  override prepare(wire: Wire): void {
    for (const text of this.#ahead) {
      wire.parse({ text });
      wire.bind({});
      wire.execute({});
    }
    super.prepare(wire);
  }

  override _getRows(wire: Wire, rows: number | undefined): void {
    if (this.#behind.length === 0) return super._getRows(wire, rows);
    wire.execute({});
    for (const { name, text } of this.#behind) {
      if (name === undefined) wire.parse({ text });
      else parseOnce(wire, name, text);
      wire.bind(name === undefined ? {} : { statement: name });
      wire.execute({});
    }
    wire.sync();
    return undefined;
  }

  override handleDataRow(message: unknown): void {
    if (this.#at === this.#ahead.length) super.handleDataRow(message);
  }

  override handleCommandComplete(message: unknown, wire: Wire): void {
    if (this.#at++ === this.#ahead.length) super.handleCommandComplete(message, wire);
  }
}

function parseOnce(wire: Wire, name: string, text: string): void {
  let names = prepared.get(wire);
  if (names === undefined) prepared.set(wire, (names = new Set()));
  if (names.has(name)) return;
  names.add(name);
  wire.parse({ name, text });
}

/** Sends a statement with others ahead of it and behind it. */
export function together(
  client: pg.PoolClient,
  ahead: readonly string[],
  config: pg.QueryConfig,
  behind: readonly Behind[] = [],
): Promise<pg.QueryResult> {
  return new Promise((resolve, reject) => {
    const query = new Together(ahead, config, behind, (error, result) => (error ? reject(error) : resolve(result)));
    client.query(query as unknown as pg.Submittable);
  });
}
