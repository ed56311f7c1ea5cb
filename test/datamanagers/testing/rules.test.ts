import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RULES } from '../../../datamanagers/testing/rules.ts';
import { assert, suite } from '../../support/suite.ts';

const test = suite('the rules that the conformance suite quotes');
const root = join(import.meta.dirname, '../../..');

/** A text as one line, without what a comment or a page has in front of its lines. */
function flat(text: string): string {
  return text.replaceAll(/\n\s*(?:\* )?/g, ' ').replaceAll(/\s+/g, ' ');
}

test('stand where they are said to stand, to the letter', () => {
  const missing = Object.values(RULES).filter(
    ({ source, text }) => !flat(readFileSync(join(root, source), 'utf8')).includes(text),
  );
  assert.equal(missing, []);
});
