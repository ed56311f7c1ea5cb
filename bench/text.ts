// Tables of text, readable in a terminal and as Markdown.

export type Row = readonly string[];

/** Prints a Markdown table with aligned columns. */
export function printTable(header: Row, rows: readonly Row[]): void {
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: Row): string =>
    `| ${widths.map((width, column) => (cells[column] ?? '').padEnd(width)).join(' | ')} |`;
  console.log(line(header));
  console.log(line(widths.map((width) => '-'.repeat(width))));
  for (const row of rows) console.log(line(row));
}
