// What a person sees: colour and a moving line where there is a terminal, plain lines where there is none.
import { styleText } from 'node:util';

type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

const isTerminal = process.stdout.isTTY;
// https://no-color.org: any value but the empty one switches colour off.
const hasColour = isTerminal && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb';
const barWidth = 24;
const quarters = 4;

export function paint(style: Style, text: string): string {
  return hasColour ? styleText(style, text) : text;
}

export function say(line = ''): void {
  process.stdout.write(`${line}\n`);
}

export function heading(text: string): void {
  say(`\n${paint('bold', text)}\n`);
}

/** Thousands apart, the same in every locale. */
export function number(value: number): string {
  return String(Math.round(value)).replaceAll(/\B(?=(\d{3})+$)/g, ',');
}

/** Rows of equally wide columns; numbers stand at the right. */
export function table(rows: readonly (readonly [label: string, value: number | string, note?: string])[]): void {
  const texts = rows.map(([label, value, note = '']) => [
    label,
    typeof value === 'number' ? number(value) : value,
    note,
  ]);
  const width = (column: number): number => Math.max(...texts.map((each) => each[column]!.length));
  for (const [label, value, note] of texts) {
    say(`  ${label!.padEnd(width(0))}  ${paint('bold', value!.padStart(width(1)))}  ${paint('dim', note!)}`.trimEnd());
  }
}

/** A line that says how far it is: redrawn in place on a terminal, else printed at every quarter and at the end. */
export class Progress {
  readonly #total: number;
  #quarter = 0;
  #shownAt = 0;
  #shown = '';
  #line = '';

  constructor(total: number) {
    this.#total = total;
  }

  show(done: number, what: string): void {
    this.#line = `${number(done)} of ${number(this.#total)}: ${what}`;
    if (isTerminal) {
      const now = performance.now();
      if (now - this.#shownAt < 50) return;
      this.#shownAt = now;
      this.#draw(done / this.#total);
      return;
    }
    const quarter = Math.floor((done / this.#total) * quarters);
    if (quarter > this.#quarter) this.#print();
    this.#quarter = quarter;
  }

  end(): void {
    if (isTerminal) {
      this.#draw(1);
      say();
    } else if (this.#shown !== this.#line) this.#print();
  }

  #draw(part: number): void {
    const filled = Math.min(Math.round(part * barWidth), barWidth);
    const bar = paint('cyan', '█'.repeat(filled)) + paint('dim', '░'.repeat(barWidth - filled));
    // Erased to its end, because the next one may be shorter.
    process.stdout.write(`\r  ${bar} ${this.#line}\u001B[K`);
  }

  #print(): void {
    this.#shown = this.#line;
    say(`  ${this.#line}`);
  }
}
