/** Texts in statements: nothing of ours can be prepared ahead, and the server's SQL mode may change what a backslash means. */

/** Quotes a text; where it isn't plain, as hexadecimal, so that no mode of the server matters. */
export function quote(text: string): string {
  if (/^[\w.:@ \-[\]",]*$/.test(text)) return `'${text}'`;
  return `convert(0x${Buffer.from(text, 'utf8').toString('hex')} using utf8mb4)`;
}

/** The time in so many milliseconds, by the server's clock. */
export function inFuture(ms: number): string {
  return `date_add(now(3), interval ${Math.round(ms * 1000)} microsecond)`;
}
