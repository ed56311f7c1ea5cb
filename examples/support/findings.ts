// What was found when a show is over, and errors, as a person reads them.
import { TransactionError } from 'unanimous';
import { heading, paint, say } from './terminal.ts';

/** Something that must hold, and what was seen. */
export type Finding = { readonly holds: boolean; readonly what: string; readonly seen: string };

/** Shows what was found, and what follows where all of it holds; false where something doesn't. */
export function showFindings(findings: readonly Finding[], verdict: string): boolean {
  heading('What is left');
  const width = Math.max(...findings.map(({ what }) => what.length));
  for (const { holds, what, seen } of findings) {
    const mark = holds ? paint('green', '✓ holds ') : paint('red', '✗ BROKEN');
    say(`  ${mark}  ${what.padEnd(width)}  ${paint('dim', seen)}`);
  }
  const isSound = findings.every(({ holds }) => holds);
  say();
  say(isSound ? paint('green', verdict) : paint('red', 'An invariant is broken.'));
  return isSound;
}

/** An error on a line: its class, its code, its message, and those that led to it. */
export function describe(error: Error): string {
  const code = (error as { code?: unknown }).code;
  const isCoded = error instanceof TransactionError || 'severity' in error;
  const cause = error.cause instanceof Error ? `\ncause: ${describe(error.cause)}` : '';
  return `${error.name}${isCoded ? ` ${String(code)}` : ''}: ${error.message}${cause}`;
}

/** A text in lines that fit the terminal. */
export function indent(text: string): string {
  return wrap(text, Math.max(60, Math.min(process.stdout.columns || 100, 120)) - 6)
    .map((line) => `    ${line}`)
    .join('\n');
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split('\n')) {
    let line = '';
    for (const word of paragraph.split(' ')) {
      if (line !== '' && line.length + 1 + word.length > width) {
        lines.push(line);
        line = `  ${word}`;
      } else line = line === '' ? word : `${line} ${word}`;
    }
    lines.push(line);
  }
  return lines;
}
