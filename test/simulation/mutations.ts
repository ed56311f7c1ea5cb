// Mistakes that a protocol like this one is made wrong by, as changes of the sources: the simulation must find each of them.
import { type Change, runChanged } from '../support/mistakes.ts';

export interface Mutation {
  /** The mistake, in words. */
  readonly name: string;
  readonly changes: readonly Change[];
  /** Where it was found last, looking from seed 1 on: another change of the sources may move it. */
  readonly seed?: number;
}

const RECOVERY = 'coordinator/recovery.ts';
const DECISIONS = 'coordinator/decisions.ts';
const TWO_PHASE = 'coordinator/two-phase.ts';
const COMMIT = 'coordinator/commit.ts';
const STORE = 'test/simulation/decision-store.ts';
const SESSION = 'test/simulation/session.ts';
const COMMIT_WAY = 'coordinator/commit-way.ts';
const RUN = 'coordinator/run.ts';
const DELIVERIES = 'coordinator/deliveries.ts';
/** Where the decision store begins to write. */
const SOON = 'this.database.server.soon(() => {\n      const left';

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'a lease that has run out is taken for death, without a fence',
    changes: [
      { file: RECOVERY, from: 'if (await log.fence(node.incarnation)) pass', to: 'pass' },
      {
        file: RECOVERY,
        from: 'const living = new Set((await log.nodes()).map(',
        to: 'const living = new Set((await log.nodes()).filter(({ isExpired }) => !isExpired).map(',
      },
    ],
  },
  {
    name: 'the fence doesn’t wait for decisions on their way',
    seed: 12,
    changes: [
      {
        file: STORE,
        from: '() => !this.#writing.has(incarnation),\n      () => {\n        this.#nodes.delete',
        to: '() => true,\n      () => {\n        this.#nodes.delete',
      },
    ],
  },
  {
    name: 'who isn’t registered decides',
    changes: [{ file: STORE, from: 'if (!this.#nodes.has(incarnation))', to: 'if (Number(incarnation) === 0)' }],
  },
  {
    name: 'the decision is written before the votes',
    changes: [
      {
        file: TWO_PHASE,
        from: 'decision?.store.activate(this.#txn.id);',
        to: 'decision?.store.activate(this.#txn.id);\n    if (decision !== undefined && carrier === undefined) void this.#writeDecision().catch(() => undefined);',
      },
    ],
  },
  {
    name: 'recovery of one’s own transactions forgets the tombstone',
    changes: [
      {
        file: RECOVERY,
        from: 'return this.#active.has(gid) ? undefined : await log.settle({ gid, incarnation, participants: [] });',
        to: "return decided ?? 'aborted';",
      },
    ],
  },
  {
    name: 'a decision whose answer was lost is looked up without a tombstone',
    changes: [
      {
        file: DECISIONS,
        from: "return (await this.log.settle(decision)) ?? 'unknown';",
        to: "return (await this.log.decisionsOf([decision.gid]))[0]?.outcome ?? 'aborted';",
      },
    ],
  },
  {
    name: 'a decision is collected though somebody has not followed it',
    changes: [
      { file: TWO_PHASE, from: 'if (this.#txn.decided && this.#failures === undefined)', to: 'if (this.#txn.decided)' },
    ],
  },
  {
    name: 'a decision is collected though somebody still lists it',
    seed: 5,
    changes: [{ file: RECOVERY, from: ' && !listed.has(gid)', to: '' }],
  },
  {
    name: 'a decision is collected though somebody could not be reached',
    changes: [
      {
        file: RECOVERY,
        from: 'participants.every((name) => reached.has(name)) && ',
        to: 'participants.length > 0 && ',
      },
    ],
  },
  {
    name: 'a session believes that there is no such branch',
    changes: [{ file: SESSION, from: 'else if (!(await this.#isListed(gid))) return', to: 'else return' }],
  },
  {
    name: 'who is alive is read before what is prepared',
    seed: 206,
    changes: [
      {
        file: RECOVERY,
        from: 'await this.#fence(pass);',
        to: 'await this.#fence(pass);\n    const early = await this.#decisions.log.nodes();',
      },
      { file: RECOVERY, from: 'await this.#endAll(prepared, pass);', to: 'await this.#endAll(prepared, pass, early);' },
      {
        file: RECOVERY,
        from: 'async #endAll(prepared: ReadonlyMap<RecoverableResource, Xid[]>, pass: Pass)',
        to: 'async #endAll(prepared: ReadonlyMap<RecoverableResource, Xid[]>, pass: Pass, early: any)',
      },
      {
        file: RECOVERY,
        from: 'const living = new Set((await log.nodes()).map(',
        to: 'const living = new Set((early as any[]).map(',
      },
    ],
  },
  {
    name: 'what isn’t decided is presumed to be committed',
    changes: [{ file: RECOVERY, from: "return decided ?? 'aborted';", to: "return decided ?? 'committed';" }],
  },
  {
    name: 'an unknown decision is taken for a no',
    changes: [{ file: COMMIT, from: 'if (isOutcomeUnknown(error)) {', to: 'if (isOutcomeUnknown(undefined)) {' }],
  },
  {
    name: 'after the decision somebody who doesn’t answer is rolled back',
    changes: [
      {
        file: TWO_PHASE,
        from: '(this.#failures ??= []).push(',
        to: 'void (manager as any).session.rollbackPrepared({ gid: this.#txn.id }).catch(() => undefined);\n    (this.#failures ??= []).push(',
      },
    ],
  },
  {
    name: 'a fenced process writes a tombstone over what others have followed and forgotten',
    seed: 10,
    changes: [
      { file: STORE, from: '&& this.#nodes.has(incarnation)) this.#write(decision', to: ') this.#write(decision' },
    ],
  },
  {
    name: 'two that have written commit in one phase each',
    changes: [
      { file: COMMIT_WAY, from: 'if (durables + lastResources > 1 || messages', to: 'if (messages' },
      { file: COMMIT_WAY, from: 'if (durables === 1 && changes', to: 'if (durables >= 1 && changes' },
    ],
  },
  {
    name: 'a commit is acknowledged before its decision is durable',
    changes: [
      {
        file: COMMIT,
        from: 'if (deciding !== undefined) await deciding;',
        to: 'if (deciding !== undefined) deciding.catch(() => undefined);',
      },
    ],
  },
  {
    name: 'the decision store answers before the decision is durable',
    changes: [{ file: STORE, from: SOON, to: `reply(() => undefined);\n    ${SOON}` }],
  },
  {
    name: 'a decision is written over a tombstone',
    changes: [
      {
        file: STORE,
        from: 'if (this.decisions.has(gid)) return refuseSecond();',
        to: "if (this.decisions.get(gid)?.outcome === 'committed') return refuseSecond();",
      },
      {
        file: STORE,
        from: 'if (this.decisions.has(gid)) refuseSecond();',
        to: "if (this.decisions.get(gid)?.outcome === 'committed') refuseSecond();",
      },
    ],
  },
  {
    name: 'a transaction in doubt is tried again',
    changes: [
      { file: RUN, from: 'if (isFinished(txn.status) || unrepeatable', to: 'if (unrepeatable' },
      { file: RUN, from: 'return txn.isRetryableError(thrown);', to: 'return true;' },
    ],
  },
  {
    name: 'the one that commits along with the decision isn’t the last',
    changes: [
      { file: COMMIT_WAY, from: 'return { order: withLast(order, carrier), decision', to: 'return { order, decision' },
    ],
  },
  {
    name: 'a decision goes by a connection to an earlier life of its server',
    changes: [
      {
        file: STORE,
        from: 'if (connection !== undefined && !this.database.has(connection)) {\n      return',
        to: 'if (connection === -1) {\n      return',
      },
      {
        file: STORE,
        from: 'else if (connection !== undefined && !this.database.has(connection)) {',
        to: 'else if (connection === -1) {',
      },
      {
        file: STORE,
        from: 'if (connection !== undefined) this.database.commit',
        to: 'if (connection !== undefined && this.database.has(connection)) this.database.commit',
      },
    ],
  },
  {
    name: 'what is prepared for another decision store is recovered',
    changes: [
      { file: RECOVERY, from: 'return isGidOf(this.#decisions.prefix!, gid);', to: "return gid.startsWith('sim:');" },
    ],
  },
  {
    name: 'messages are stored before the decision',
    changes: [
      { file: STORE, from: SOON, to: `this.messages.add(gid, decision.messages ?? []);\n    ${SOON}` },
      {
        file: STORE,
        from: "this.#write(decision, 'committed');\n        this.messages.add(gid, decision.messages ?? []);",
        to: "this.#write(decision, 'committed');",
      },
    ],
  },
  {
    name: 'a message is deleted before it is delivered',
    changes: [
      {
        file: DELIVERIES,
        from: 'const isDelivered = await this.#deliver(',
        to: 'await this.#options.outbox.remove([message]);\n        const isDelivered = await this.#deliver(',
      },
    ],
  },
  {
    name: 'what comes behind a message that has failed is delivered',
    changes: [
      {
        file: DELIVERIES,
        from: 'if (!isDelivered && target.anyOrder !== true) {',
        to: "if (!isDelivered && target.name === '') {",
      },
    ],
  },
  {
    name: 'what comes behind a message is delivered, where it could not be written down that that has failed',
    changes: [
      {
        file: DELIVERIES,
        from: 'if (through < queue.length && target.anyOrder !== true) this.#block(target.name, queue.slice(through));',
        to: '',
      },
    ],
  },
  {
    name: 'recovery delivers what comes behind a message that isn’t due',
    changes: [
      {
        file: DELIVERIES,
        from: 'const claim = { prefix, targets, inOrder, limit',
        to: 'const claim = { prefix, targets, inOrder: [], limit',
      },
    ],
  },
  {
    name: 'who is in doubt keeps his connection',
    changes: [
      { file: TWO_PHASE, from: 'for (const manager of held) await attempt(() => manager.hold!(txn), error);', to: '' },
    ],
  },
  {
    name: 'a claim is renewed when all is delivered',
    changes: [{ file: DELIVERIES, from: 'return () => this.#claimed.delete(claimed);', to: 'return () => undefined;' }],
  },
  {
    name: 'tombstones of the dead are kept',
    changes: [{ file: RECOVERY, from: 'await log.forgetTombstones();', to: '' }],
  },
  {
    name: 'decisions that all have followed are kept',
    changes: [
      {
        file: RECOVERY,
        from: 'if (followed.length > 0) await log.forget',
        to: 'if (followed.length > 1_000) await log.forget',
      },
    ],
  },
];

/** Lets the simulation look for a mistake; resolves with what it says, and whether it has found a breach. */
export async function hunt(
  { changes, seed = 1 }: Mutation,
  { steps, timeoutMs }: { readonly steps: number; readonly timeoutMs: number },
): Promise<{ isFound: boolean; output: string }> {
  const args = ['--seed', String(seed), '--steps', String(steps)];
  const { code, output } = await runChanged('test/simulation/main.ts', changes, args, timeoutMs);
  return { isFound: code === 1 && output.includes(' breaches'), output };
}
