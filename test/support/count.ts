// The line by which a test file tells its runner how many tests it ran.

/** How many tests of a file, or of all files, ended in which way. */
export type Count = { passed: number; failed: number; skipped: number };

const prefix = '# count ';

export function countLine(count: Count): string {
  return prefix + JSON.stringify(count);
}

/** Finds the count in what a file printed; undefined means that the file broke before it could print one. */
export function readCount(output: string): Count | undefined {
  const line = output.split('\n').findLast((each) => each.startsWith(prefix));
  return line === undefined ? undefined : (JSON.parse(line.slice(prefix.length)) as Count);
}

/** Says it as the last line of a run: `N passed, N failed`, and `, N skipped` where there are any. */
export function summary(count: Count): string {
  const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : '';
  return `${count.passed} passed, ${count.failed} failed${skipped}`;
}
