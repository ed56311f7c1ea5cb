import { assert, suite } from '../support/suite.ts';
import { findBlocks } from './blocks.ts';

const test = suite('readme blocks');

test('finds an example with its wishes and its output', () => {
  const markdown =
    '# Title\n<!-- example: setup=a,b types-only -->\n\n```ts\nconst a = 1;\n```\n\n```text\n1\n2\n```\n\n```sh\nls\n```';
  assert.equal(findBlocks(markdown), [
    { line: 4, code: 'const a = 1;', output: '1\n2', setups: ['a', 'b'], typesOnly: true, legacyDecorators: false },
  ]);
});

test('a text block after prose is no output, and a longer fence holds a shorter one', () => {
  const markdown = '```ts\na;\n```\nprose\n```text\n1\n```\n````md\n```ts\nb;\n```\n````';
  assert.equal(findBlocks(markdown), [
    { line: 1, code: 'a;', output: undefined, setups: [], typesOnly: false, legacyDecorators: false },
  ]);
});

test('an example cannot be skipped, be left open, or be JavaScript', () => {
  assert.throws(() => findBlocks('<!-- example: skip -->\n```ts\n```'), /not for skip/);
  assert.throws(() => findBlocks('```ts\na;'), /must be closed/);
  assert.throws(() => findBlocks('```js\na;\n```'), /block of ts/);
});
