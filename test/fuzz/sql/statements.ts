// From the numbers of a script to the statements of a dialect.
import type { Dialect, Request } from './dialect.ts';
import type { MarkStep, Script, Use } from './script.ts';

/** A text that is sent as it is. */
export function plain(text: string): Request {
  return { text, values: undefined, form: 'plain' };
}

const VERBS = { mark: 'SAVEPOINT', return: 'ROLLBACK TO SAVEPOINT', forget: 'RELEASE SAVEPOINT' } as const;

/** A savepoint of a client's own. */
export function textOf({ kind, name }: MarkStep): string {
  return `${VERBS[kind]} ${name}`;
}

let scripts = 0;

/** The statements of one script. */
export class Statements {
  readonly #dialects: readonly Dialect[];
  readonly #script: Script;
  /** So that what is remembered of a text is forgotten with its script, and each run of it is like the other. */
  readonly #mark = `/*${++scripts}*/ `;

  constructor(dialects: readonly Dialect[], script: Script) {
    this.#dialects = dialects;
    this.#script = script;
  }

  request(use: Use, database: number): Request {
    const dialect = this.#dialects[database]!;
    const { theme, palette } = this.#script;
    const number = palette[use.entry % palette.length]! % dialect.themes[theme]!;
    const request = dialect.request(theme, number, use);
    return request.values === undefined ? request : { ...request, text: this.#mark + request.text };
  }

  describe({ text, values, form }: Request): string {
    const bare = text.startsWith(this.#mark) ? text.slice(this.#mark.length) : text;
    return `${bare} ${values === undefined ? '' : JSON.stringify(values)} (${form})`;
  }
}
