// Who came before whom, from the order of the lists, and the cycles in that: what can't have happened one after the other.
import type { Anomaly, Kind } from './anomalies.ts';
import { componentsOf, membersOf, wayFrom } from './cycles.ts';
import { type Attempt, type DatabaseName, type History, appendsOf, isAppend, listOf, place } from './history.ts';
import { othersOf, writersOf } from './lists.ts';

/** Appended behind what the other one has appended; read it; read the list as it was before. */
export type Dependency = 'ww' | 'wr' | 'rw';

interface Edge {
  readonly from: number;
  readonly to: number;
  readonly as: Dependency;
  /** Where, and by which value. */
  readonly why: string;
}

export interface Graph {
  readonly attempts: readonly Attempt[];
  /** By the node that they come from. */
  readonly edges: readonly (readonly Edge[])[];
}

/** Those that have committed, as their clients were told or as is to be seen in the end, and what orders them in these databases. */
export function graphOf(history: History, databases: readonly DatabaseName[]): Graph {
  const isThere = (attempt: Attempt): boolean =>
    attempt.ending === 'committed' ||
    (attempt.ending === 'unknown' &&
      appendsOf(attempt).some((append) => listOf(history, append).includes(append.value)));
  const attempts = history.attempts.filter(isThere);
  const nodes = new Map(attempts.map((attempt, node) => [attempt, node]));
  const writers = writersOf(history);
  const edges: Edge[][] = attempts.map(() => []);
  const known = new Set<string>();
  const add = (from: number | undefined, to: number | undefined, as: Dependency, why: string): void => {
    const name = `${from} ${to} ${as}`;
    if (from === undefined || to === undefined || from === to || known.has(name)) return;
    known.add(name);
    edges[from]!.push({ from, to, as, why });
  };
  const writerOf = (value: string | undefined): number | undefined => {
    const by = value === undefined ? undefined : writers.get(value)?.by;
    return by === undefined ? undefined : nodes.get(by);
  };
  for (const database of databases) {
    for (const [key, list] of history.lists.get(database) ?? []) {
      for (const [index, value] of list.slice(1).entries())
        add(writerOf(list[index]), writerOf(value), 'ww', `${value} behind ${list[index]} in ${database}/${key}`);
    }
  }
  for (const [node, attempt] of attempts.entries()) {
    for (const [index, step] of attempt.steps.entries()) {
      if (isAppend(step) || step.values === undefined || !databases.includes(step.database)) continue;
      const list = listOf(history, step);
      const others = othersOf(attempt, index);
      // An order of its own says nothing of that of the others; it is an anomaly by itself.
      if (others.some((value, at) => list[at] !== value)) continue;
      const [last, next] = [others.at(-1), list[others.length]];
      add(writerOf(last), node, 'wr', `read ${last} in ${place(step)}`);
      add(node, writerOf(next), 'rw', `${place(step)} read without ${next}`);
    }
  }
  return { attempts, edges };
}

/** The cycles of a graph, by kind: one anomaly for all that are connected, with the attempts that they have and a short one of them. */
export function checkCycles(graph: Graph, database: DatabaseName | undefined): Anomaly[] {
  return [
    ...cyclesOf(graph, 'G0', ['ww'], 'ww', database),
    ...cyclesOf(graph, 'G1c', ['ww', 'wr'], 'wr', database),
    ...cyclesWithReads(graph, database),
  ];
}

/** The nodes that are on a cycle of any kind. */
export function onCycles({ attempts, edges }: Graph): ReadonlySet<Attempt> {
  const components = componentsOf(edges.length, (node) => edges[node]!.map(({ to }) => to));
  const large = membersOf(components).filter((members) => members.length > 1);
  return new Set(large.flat().map((node) => attempts[node]!));
}

/** Within what is connected by edges of some kinds, each edge is on a cycle. */
function cyclesOf(
  graph: Graph,
  kind: Kind,
  by: readonly Dependency[],
  needed: Dependency,
  database: DatabaseName | undefined,
): Anomaly[] {
  const next = (node: number): number[] => graph.edges[node]!.filter(({ as }) => by.includes(as)).map(({ to }) => to);
  const components = componentsOf(graph.edges.length, next);
  return membersOf(components).flatMap((members) => {
    const inside = (node: number): number[] => next(node).filter((to) => components[to] === components[members[0]!]);
    const edge = members
      .flatMap((node) => graph.edges[node]!)
      .find((each) => each.as === needed && inside(each.from).includes(each.to));
    return edge === undefined
      ? []
      : [shown(graph, kind, database, edge, wayFrom(edge.to, edge.from, inside)!, members)];
  });
}

/**
 * Cycles with rw. A node is looked at twice: as reached by an rw edge (odd), from where no other may follow, and as reached otherwise
 * (even). What is connected there lies on a way back to itself on which no rw follows another. That is what a snapshot excludes: with ww and
 * wr one commits before the other begins, with rw and then one of these at least the beginnings are in order.
 */
function cyclesWithReads(graph: Graph, database: DatabaseName | undefined): Anomaly[] {
  const { edges } = graph;
  const apart = (state: number): number[] => {
    const isBehindRead = state % 2 === 1;
    return edges[Math.floor(state / 2)]!.flatMap(({ to, as }) =>
      as === 'rw' ? (isBehindRead ? [] : [to * 2 + 1]) : [to * 2],
    );
  };
  const next = (node: number): number[] => edges[node]!.map(({ to }) => to);
  const states = componentsOf(edges.length * 2, apart);
  const components = componentsOf(edges.length, next);
  const isApart = ({ from, to }: Edge): boolean => states[from * 2] === states[to * 2 + 1];
  const reads = edges.flatMap((of) =>
    of.filter(({ as, from, to }) => as === 'rw' && components[from] === components[to]),
  );
  const found: Anomaly[] = [];

  for (const some of grouped(reads.filter(isApart), (edge) => states[edge.from * 2]!)) {
    const component = states[some[0]!.from * 2];
    const members = [...new Set(states.flatMap((each, state) => (each === component ? [Math.floor(state / 2)] : [])))];
    const isMember = new Set(members);
    const withoutReads = (node: number): number[] =>
      edges[node]!.filter(({ as, to }) => as !== 'rw' && isMember.has(to)).map(({ to }) => to);
    let single: Anomaly | undefined;
    for (const edge of some) {
      const back = wayFrom(edge.to, edge.from, withoutReads);
      if (back === undefined) continue;
      single = shown(graph, 'G-single', database, edge, back, members);
      break;
    }
    if (single !== undefined) found.push(single);
    else {
      const [edge] = some;
      const back = wayFrom(edge!.to * 2 + 1, edge!.from * 2, apart)!.map((state) => Math.floor(state / 2));
      found.push(shown(graph, 'G-nonadjacent', database, edge!, back, members));
    }
  }
  // On a cycle, but on none without two in a row.
  for (const some of grouped(
    reads.filter((edge) => !isApart(edge)),
    (edge) => components[edge.from]!,
  )) {
    const [edge] = some;
    const component = components[edge!.from];
    const members = components.flatMap((each, node) => (each === component ? [node] : []));
    const back = wayFrom(edge!.to, edge!.from, (node) => next(node).filter((to) => components[to] === component))!;
    found.push(shown(graph, 'G2-item', database, edge!, back, members));
  }
  return found;
}

function grouped(edges: readonly Edge[], by: (edge: Edge) => number): Edge[][] {
  const groups = new Map<number, Edge[]>();
  for (const edge of edges) {
    const group = groups.get(by(edge));
    if (group === undefined) groups.set(by(edge), [edge]);
    else group.push(edge);
  }
  return [...groups.values()];
}

/** An edge, and the way back to where it begins. */
function shown(
  { attempts, edges }: Graph,
  kind: Kind,
  database: DatabaseName | undefined,
  first: Edge,
  back: readonly number[],
  members: readonly number[],
): Anomaly {
  const texts = [`${attempts[first.from]!.id} –${first.as}→ ${attempts[first.to]!.id} (${first.why})`];
  for (const [index, to] of back.slice(1).entries()) {
    const between = edges[back[index]!]!.filter((edge) => edge.to === to);
    const edge = between.find(({ as }) => as !== 'rw' && (kind !== 'G0' || as === 'ww')) ?? between[0]!;
    texts.push(`–${edge.as}→ ${attempts[to]!.id} (${edge.why})`);
  }
  const anomaly: Anomaly = { kind, what: texts.join(' '), attempts: members.length };
  return database === undefined ? anomaly : { ...anomaly, database };
}
