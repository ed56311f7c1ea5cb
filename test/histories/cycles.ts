// Graphs: what is connected in both directions, and a shortest way from here to there.

/** The successors of a node, which is a number from 0 on. */
export type Successors = (node: number) => readonly number[];

/**
 * Tarjan's algorithm: the component of each node, by number; two nodes have the same one where each can be reached from the other. Without
 * recursion, as histories are longer than the stack is deep.
 */
export function componentsOf(size: number, successors: Successors): number[] {
  const index = Array.from({ length: size }, () => -1);
  const low = Array.from({ length: size }, () => 0);
  const component = Array.from({ length: size }, () => -1);
  const open: number[] = [];
  let visited = 0;
  let components = 0;
  for (let root = 0; root < size; root++) {
    if (index[root] !== -1) continue;
    const way: { readonly node: number; readonly next: readonly number[]; at: number }[] = [];
    const enter = (node: number): void => {
      index[node] = low[node] = visited++;
      open.push(node);
      way.push({ node, next: successors(node), at: 0 });
    };
    enter(root);
    for (let frame = way.at(-1); frame !== undefined; frame = way.at(-1)) {
      const { node, next } = frame;
      if (frame.at < next.length) {
        const to = next[frame.at++]!;
        if (index[to] === -1) enter(to);
        else if (component[to] === -1) low[node] = Math.min(low[node]!, index[to]!);
        continue;
      }
      way.pop();
      const caller = way.at(-1);
      if (caller !== undefined) low[caller.node] = Math.min(low[caller.node]!, low[node]!);
      if (low[node] !== index[node]) continue;
      for (let member = open.pop()!; ; member = open.pop()!) {
        component[member] = components;
        if (member === node) break;
      }
      components++;
    }
  }
  return component;
}

/** The nodes of each component. */
export function membersOf(components: readonly number[]): number[][] {
  const members: number[][] = [];
  for (const [node, component] of components.entries()) (members[component] ??= []).push(node);
  return members;
}

/** A shortest way, both ends included; undefined where there is none. */
export function wayFrom(from: number, to: number, successors: Successors): number[] | undefined {
  const before = new Map<number, number>([[from, from]]);
  const queue = [from];
  for (const node of queue) {
    if (node === to) break;
    for (const next of successors(node)) {
      if (before.has(next)) continue;
      before.set(next, node);
      queue.push(next);
    }
  }
  if (!before.has(to)) return undefined;
  const way = [to];
  while (way[0] !== from) way.unshift(before.get(way[0]!)!);
  return way;
}
