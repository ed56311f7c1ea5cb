// Mistakes that a protocol like this one is made wrong by, as changes of the sources: the simulation must find each of them.
import { cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A change of one source. */
interface Change {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

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
const SESSION = 'test/simulation/process.ts';

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
    seed: 20,
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
    changes: [{ file: SESSION, from: 'else if (!(await this.#isListed(gid))) return;', to: 'else return;' }],
  },
  {
    name: 'who is alive is read before what is prepared',
    seed: 118,
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
    changes: [
      { file: STORE, from: '&& this.#nodes.has(incarnation)) this.#write(decision', to: ') this.#write(decision' },
    ],
  },
];

const root = join(import.meta.dirname, '../..');

/** Lets the simulation look for a mistake; resolves with what it says, and whether it has found a breach. */
export async function hunt(
  { changes, seed = 1 }: Mutation,
  { steps, timeoutMs }: { readonly steps: number; readonly timeoutMs: number },
): Promise<{ isFound: boolean; output: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'unanimous-mutation-'));
  try {
    for (const part of ['coordinator', 'datamanagers', 'test/simulation', 'package.json', 'tsconfig.json']) {
      cpSync(join(root, part), join(folder, part), { recursive: true });
    }
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    for (const { file, from, to } of changes) {
      const path = join(folder, file);
      const source = readFileSync(path, 'utf8');
      const changed = source.replace(from, () => to);
      if (changed === source) throw new Error(`${file} has no longer: ${from}`);
      writeFileSync(path, changed);
    }
    return await run(folder, seed, steps, timeoutMs);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function run(
  folder: string,
  seed: number,
  steps: number,
  timeoutMs: number,
): Promise<{ isFound: boolean; output: string }> {
  const main = join(folder, 'test/simulation/main.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', main, '--seed', String(seed), '--steps', String(steps)], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  return new Promise((resolve) => {
    child.once('close', (code) => resolve({ isFound: code === 1 && output.includes(' breaches'), output }));
  });
}
