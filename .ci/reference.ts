// Writes docs/reference/*.api.md: every public name of an entry point with its signature and what its comment says of it. From the model that
// .ci/api-report.ts leaves in temp/, which calls this.
import {
  ApiClass,
  ApiDeclaredItem,
  ApiDocumentedItem,
  ApiInterface,
  type ApiItem,
  ApiItemKind,
  ApiModel,
} from '@microsoft/api-extractor-model';
import {
  DocCodeSpan,
  type DocComment,
  DocErrorText,
  DocEscapedText,
  DocExcerpt,
  DocFencedCode,
  DocLinkTag,
  type DocNode,
  DocPlainText,
  DocSoftBreak,
} from '@microsoft/tsdoc';

const KINDS: readonly (readonly [ApiItemKind, string])[] = [
  [ApiItemKind.Variable, 'Values'],
  [ApiItemKind.Function, 'Functions'],
  [ApiItemKind.Class, 'Classes'],
  [ApiItemKind.Interface, 'Interfaces'],
  [ApiItemKind.TypeAlias, 'Types'],
];

/** The reference of the entry point that is called `name` by those who import it, from its model. */
export function referenceOf(name: string, modelFile: string): string {
  const members = new ApiModel().loadPackage(modelFile).entryPoints[0]!.members;
  const names = new Set(members.map(({ displayName }) => displayName));
  const parts = KINDS.flatMap(([kind, title]) => {
    const items = members
      .filter((item) => item.kind === kind)
      .toSorted((a, b) => (a.displayName < b.displayName ? -1 : 1));
    return items.length === 0 ? [] : [`## ${title}`].concat(items.map((item) => describe(item, names)));
  });
  return `# \`${name}\`\n\nMade from the comments in the sources by \`npm run api\`.\n\n${parts.join('\n\n')}\n`;
}

function describe(item: ApiItem, names: ReadonlySet<string>): string {
  const parts = [`### ${item.displayName}`, signature(item), prose(item, names)];
  if (item instanceof ApiClass || item instanceof ApiInterface) {
    for (const member of item.members) {
      const text = prose(member, names);
      parts.push(`${signature(member)}${text === '' ? '' : `\n\n${text}`}`);
    }
  }
  return parts.filter((part) => part !== '').join('\n\n');
}

function signature(item: ApiItem): string {
  if (!(item instanceof ApiDeclaredItem)) return '';
  const text = item.excerpt.text.replace(/^export (declare )?/, '').trim();
  return `\`\`\`typescript\n${text}\n\`\`\``;
}

function prose(item: ApiItem, names: ReadonlySet<string>): string {
  const comment = item instanceof ApiDocumentedItem ? item.tsdocComment : undefined;
  if (comment === undefined) return '';
  const render = (node: DocNode): string => markdown(node, names).trim();
  return [
    render(comment.summarySection),
    comment.remarksBlock === undefined ? '' : render(comment.remarksBlock.content),
    ...parameters(comment, render),
    comment.returnsBlock === undefined ? '' : `Returns ${render(comment.returnsBlock.content)}`,
    ...comment.customBlocks.map((block) => `${titleOf(block.blockTag.tagName)} ${render(block.content)}`),
  ]
    .filter((part) => part !== '')
    .join('\n\n')
    .replaceAll(/\n{3,}/g, '\n\n');
}

function parameters(comment: DocComment, render: (node: DocNode) => string): string[] {
  return comment.params.blocks.map((block) => `- \`${block.parameterName}\`: ${render(block.content)}`);
}

function titleOf(tag: string): string {
  return tag === '@throws' ? '**Throws**' : `**${tag.slice(1)}**`;
}

function markdown(node: DocNode, names: ReadonlySet<string>): string {
  if (node instanceof DocPlainText) return node.text;
  if (node instanceof DocSoftBreak) return '\n';
  if (node instanceof DocCodeSpan) return `\`${node.code}\``;
  if (node instanceof DocEscapedText) return node.decodedText;
  if (node instanceof DocErrorText) return node.text;
  if (node instanceof DocFencedCode) return `\n\`\`\`typescript\n${node.code}\n\`\`\`\n`;
  if (node instanceof DocExcerpt) return '';
  if (node instanceof DocLinkTag) {
    const parts = node.codeDestination?.memberReferences.map((part) => part.memberIdentifier?.identifier ?? '') ?? [];
    const text = node.linkText ?? (parts.length > 0 ? parts.join('.') : (node.urlDestination ?? ''));
    const [first = ''] = parts;
    return names.has(first) ? `[\`${text}\`](#${first.toLowerCase()})` : `\`${text}\``;
  }
  const inner = node
    .getChildNodes()
    .map((child) => markdown(child, names))
    .join('');
  return node.kind === 'Paragraph' ? `${inner}\n\n` : inner;
}
