// Finds the examples in a Markdown file: each ```ts block, what a comment before it asks for, and what it must print.
//
//   <!-- example: setup=accounts -->    runs test/readme/setups/accounts.sql on both databases first
//   <!-- example: setup=smtp -->        starts test/readme/setups/smtp.ts; redis, test/readme/setups/redis.ts
//   <!-- example: types-only -->        is type-checked, but not run
//   <!-- example: decorators=legacy --> has decorators in their legacy form, as Nest's are

/** An example of a Markdown file. */
export type Block = {
  /** The line of the opening fence. */
  readonly line: number;
  readonly code: string;
  readonly setups: readonly string[];
  readonly typesOnly: boolean;
  readonly legacyDecorators: boolean;
  /** The ```text block directly after it. */
  readonly output: string | undefined;
};

type Fence = { readonly line: number; readonly end: number; readonly language: string; readonly text: string };

export function findBlocks(markdown: string): Block[] {
  const lines = markdown.split('\n');
  const fences = findFences(lines);
  return fences.flatMap((fence, index) => {
    if (/^(typescript|javascript|js|mjs|mts)$/.test(fence.language)) {
      throw new Error(`line ${fence.line}: an example must be a block of ts, because no other is run`);
    }
    if (fence.language !== 'ts') return [];
    const next = fences[index + 1];
    const follows = next?.language === 'text' && isBlank(lines.slice(fence.end, next.line - 1));
    return [
      { line: fence.line, code: fence.text, output: follows ? next.text : undefined, ...findWishes(lines, fence.line) },
    ];
  });
}

/** Fences as CommonMark has them: a closing one is at least as long as the one that it closes. */
function findFences(lines: readonly string[]): Fence[] {
  const fences: Fence[] = [];
  let open: { line: number; mark: string; indent: string; language: string } | undefined;
  for (const [index, text] of lines.entries()) {
    const [, indent = '', mark = '', language = ''] = /^( *)(```+)\s*(\S*)/.exec(text) ?? [];
    if (open === undefined) {
      if (mark !== '') open = { line: index + 1, mark, indent, language };
    } else if (mark.length >= open.mark.length && language === '') {
      const { line, indent: outer, language: opened } = open;
      const inner = lines.slice(line, index).map((each) => (each.startsWith(outer) ? each.slice(outer.length) : each));
      fences.push({ line, end: index + 1, language: opened, text: inner.join('\n') });
      open = undefined;
    }
  }
  if (open !== undefined) throw new Error(`line ${open.line}: the block must be closed`);
  return fences;
}

/** What the comment directly before the block asks for. */
function findWishes(
  lines: readonly string[],
  line: number,
): { setups: string[]; typesOnly: boolean; legacyDecorators: boolean } {
  let before = line - 2;
  while (before >= 0 && lines[before]?.trim() === '') before--;
  const wishes = { setups: [] as string[], typesOnly: false, legacyDecorators: false };
  const comment = /^\s*<!-- example:\s*(.*?)\s*-->$/.exec(lines[before] ?? '')?.[1];
  for (const wish of comment?.split(/\s+/) ?? []) {
    const setup = /^setup=([\w,-]+)$/.exec(wish)?.[1];
    if (setup !== undefined) wishes.setups.push(...setup.split(','));
    else if (wish === 'types-only') wishes.typesOnly = true;
    else if (wish === 'decorators=legacy') wishes.legacyDecorators = true;
    else
      throw new Error(
        `line ${before + 1}: an example may ask for setup=NAME, types-only or decorators=legacy, not for ${wish}`,
      );
  }
  return wishes;
}

function isBlank(lines: readonly string[]): boolean {
  return lines.every((each) => each.trim() === '');
}
