/** Passwords are never printed: neither those of addresses, nor where somebody else's error quotes them. */

const HIDDEN = '***';
/** `scheme://user:password@`, wherever it came from, up to the last `@`, as a password may hold one. */
const CREDENTIALS = /(\b[a-z][a-z0-9+.-]{0,40}:\/\/[^\s:/@"']*):[^\s"']*@/gi;
const SECRET_PARAMETER = /([?&][^=&\s]{0,100}(?:password|passwd|pwd|secret|token)[^=&\s]{0,100}=)[^&\s"']*/gi;

export class Secrets {
  readonly #texts = new Set<string>();

  /** Remembers what must not be printed of an address. */
  add(url: URL): void {
    const isPublic = new Set([url.username, url.hostname, url.port, url.pathname.slice(1), '']);
    const texts = [url.password];
    for (const [name, value] of url.searchParams) if (/pass|pwd|secret|token/i.test(name)) texts.push(value);
    for (const text of texts) {
      for (const form of [text, decoded(text)]) if (!isPublic.has(form)) this.#texts.add(form);
    }
  }

  /** What an error says, without them, in one line. */
  reason(error: unknown): string {
    let text = hideCredentials(messageOf(error));
    // The longest first, as one may be a part of another.
    for (const secret of [...this.#texts].sort((a, b) => b.length - a.length)) text = text.replaceAll(secret, HIDDEN);
    return text.replaceAll(/\s+/g, ' ').trim();
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Where several addresses of a host were tried, the error itself says nothing, but those in it do. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.message !== '') return error.message;
  const inner = error instanceof AggregateError ? error.errors.map(messageOf) : [];
  if (inner.length > 0) return [...new Set(inner)].join('; ');
  return (error as { code?: string }).code ?? error.name;
}

/** A text without what looks like a password in an address. */
export function hideCredentials(text: string): string {
  return text.replace(CREDENTIALS, `$1:${HIDDEN}@`).replace(SECRET_PARAMETER, `$1${HIDDEN}`);
}

/** An address as it may be printed: without its password and parameters. */
export function publicAddress(url: URL): string {
  const user = url.username === '' ? '' : `${url.username}@`;
  return `${url.protocol}//${user}${url.host}${url.pathname}`;
}
