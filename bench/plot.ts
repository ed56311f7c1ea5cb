// Draws ratios of throughput as an SVG: a bar for each contender, with its quartiles. Readable on light and on dark ground.
import { writeFileSync } from 'node:fs';
import { type Results, keyOf, partOf, readResults } from './results.ts';
import type { ThroughputResult } from './throughput/part.ts';
import type { ThroughputRow, ThroughputTable } from './throughput/table.ts';

const WIDTH = 920;
const LABELS = 390;
const VALUES = 60;
const BAR = 14;
const ROW = 22;
const HEAD = 56;
const GAP = 28;
/** Between the lines behind the bars. */
const STEP = 0.25;

/** Which tables are drawn: of these parts, with so many clients, where the results have them. */
const DRAWN: readonly { readonly part: string; readonly clients: readonly number[] }[] = [
  { part: 'postgres', clients: [1, 16] },
  { part: 'postgres-peers', clients: [1, 16] },
  { part: 'postgres+postgres', clients: [1, 16] },
  { part: 'postgres+mariadb', clients: [1, 16] },
  { part: 'postgres+redis', clients: [1, 16] },
];

/** Reads results, and writes a picture of them. */
export function plot(resultsFile: string, svgFile: string): void {
  const tables = tablesOf(readResults(resultsFile));
  if (tables.length === 0) throw new Error(`a picture is of tables 2 or 4, and '${resultsFile}' has neither`);
  writeFileSync(svgFile, svgOf(tables));
}

type Drawn = { readonly table: ThroughputTable; readonly delayMs: number };

function tablesOf(results: Results): Drawn[] {
  return DRAWN.flatMap(({ part, clients }) =>
    Object.entries(results)
      .filter(([key]) => partOf(key) === part)
      .toSorted(([a], [b]) => (a === keyOf(part, 0) ? -1 : b === keyOf(part, 0) ? 1 : 0))
      .flatMap(([, { result }]) => {
        const { tables, delayMs } = result as ThroughputResult;
        return tables.filter((table) => clients.includes(table.clients)).map((table) => ({ table, delayMs }));
      }),
  );
}

const STYLE = `
    text { font: 12px system-ui, sans-serif; fill: #1f2328; }
    .title { font-weight: 600; font-size: 13px; }
    .note { fill: #59636e; font-size: 11px; }
    .other { fill: #8c959f; }
    .ours { fill: #2da44e; }
    .whisker { stroke: #1f2328; stroke-width: 1.2; }
    .line { stroke: #d1d9e0; }
    .one { stroke: #59636e; stroke-dasharray: 4 3; }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc; }
      .note { fill: #9198a1; }
      .other { fill: #656c76; }
      .ours { fill: #3fb950; }
      .whisker { stroke: #f0f6fc; }
      .line { stroke: #3d444d; }
      .one { stroke: #9198a1; }
    }`;

function svgOf(tables: readonly Drawn[]): string {
  let top = GAP / 2;
  const panels: string[] = [];
  for (const drawn of tables) {
    panels.push(panelOf(drawn, top));
    top += HEAD + ROW * drawn.table.rows.length + GAP;
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${top}" width="${WIDTH}" height="${top}" role="img" aria-label="Throughput of transactions against hand-written ones">`,
    `  <style>${STYLE}\n  </style>`,
    ...panels,
    '</svg>\n',
  ].join('\n');
}

/** Those of ours stand out. */
function isOurs(title: string): boolean {
  return /\b(?:run|begin)\(/.test(title);
}

function panelOf({ table, delayMs }: Drawn, top: number): string {
  const { title, clients, baseline, rounds, valid, rows } = table;
  const most = Math.max(1, ...rows.map(({ ratio }) => ratio.upper));
  const end = Math.ceil(most / STEP) * STEP;
  const scale = (ratio: number): number => LABELS + (ratio / end) * (WIDTH - LABELS - VALUES);
  const bottom = top + HEAD + ROW * rows.length;
  const delay = delayMs > 0 ? `, each round trip ${delayMs} ms longer` : '';
  const head = `${title}, ${clients === 1 ? '1 client' : `${clients} clients`}${delay}`;
  const note = `throughput against ${baseline} = 1; bars: medians, whiskers: quartiles of ${rounds} rounds${valid ? '' : '; VOID: the machine was too busy'}`;
  const lines: string[] = [];
  for (let at = 0; at <= end + STEP / 2; at += STEP) {
    const x = scale(at).toFixed(1);
    const kind = Math.abs(at - 1) < STEP / 2 ? 'one' : 'line';
    lines.push(`  <line class="${kind}" x1="${x}" x2="${x}" y1="${top + HEAD - 12}" y2="${bottom}"/>`);
    lines.push(
      `  <text class="note" x="${x}" y="${top + HEAD - 16}" text-anchor="middle">${Number(at.toFixed(2))}</text>`,
    );
  }
  return [
    `  <text class="title" x="8" y="${top + 14}">${escaped(head)}</text>`,
    `  <text class="note" x="8" y="${top + 29}">${escaped(note)}</text>`,
    ...lines,
    ...rows.map((row, index) => barOf(row, top + HEAD + ROW * index, scale)),
  ].join('\n');
}

function barOf({ title, ratio }: ThroughputRow, top: number, scale: (ratio: number) => number): string {
  const middle = top + BAR / 2 + 2;
  const left = scale(0);
  const at = (x: number): string => scale(x).toFixed(1);
  const whisker = (x1: string, x2: string, y1: number, y2: number): string =>
    `  <line class="whisker" x1="${x1}" x2="${x2}" y1="${y1}" y2="${y2}"/>`;
  const [low, high] = [at(ratio.lower), at(ratio.upper)];
  return [
    `  <text x="${LABELS - 8}" y="${middle + 4}" text-anchor="end">${escaped(title)}</text>`,
    `  <rect class="${isOurs(title) ? 'ours' : 'other'}" x="${left}" y="${top + 2}" width="${(scale(ratio.median) - left).toFixed(1)}" height="${BAR}" rx="2"/>`,
    whisker(low, high, middle, middle),
    whisker(low, low, middle - 4, middle + 4),
    whisker(high, high, middle - 4, middle + 4),
    `  <text x="${WIDTH - 8}" y="${middle + 4}" text-anchor="end">${ratio.median.toFixed(2)}</text>`,
  ].join('\n');
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
