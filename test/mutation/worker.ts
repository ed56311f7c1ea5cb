// A process that runs tests for Stryker's runner, and is asked again and again, as loading takes longer than the tests that find a mutant.
import { type ChildProcess, spawn } from 'node:child_process';
import { type Answer, type Plan, PROGRESS, type Request } from './messages.ts';

/** No test takes so long, nor does loading, on a machine with ten times as much to do as it can. */
const PATIENCE_MS = 20_000;

/** What came of a request: without an answer the process has ended, or was killed because it said nothing for too long. */
export type Reply = { readonly answer: Answer | undefined; readonly timedOut: boolean; readonly output: string };

export type Worker = {
  /** How many requests it has answered. */
  readonly served: number;
  ask(request: Request): Promise<Reply>;
  stop(): void;
};

export function startWorker(script: string, cwd: string, plan: Plan): Worker {
  const child = spawn(process.execPath, [script], {
    cwd,
    env: { ...process.env, MUTATION_PLAN: JSON.stringify(plan) },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => (output = (output + chunk).slice(-10_000)));
  }
  const ready = nextMessage(child);
  let served = 0;
  return {
    get served() {
      return served;
    },
    async ask(request) {
      let timedOut = false;
      const giveUp = (): void => {
        timedOut = true;
        child.kill('SIGKILL');
      };
      let timer = setTimeout(giveUp, PATIENCE_MS);
      const onProgress = (): void => {
        clearTimeout(timer);
        timer = setTimeout(giveUp, PATIENCE_MS);
      };
      child.on('message', onProgress);
      let answer: Answer | undefined;
      if ((await ready) !== undefined) {
        const message = nextMessage(child);
        child.send(request);
        answer = (await message) as Answer | undefined;
      }
      child.off('message', onProgress);
      clearTimeout(timer);
      served++;
      return { answer, timedOut, output };
    },
    stop: () => void child.kill('SIGKILL'),
  };
}

/** Undefined when the process has ended instead. */
function nextMessage(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve(undefined);
    child.once('close', () => resolve(undefined));
    child.on('message', function receive(message) {
      if (message === PROGRESS) return;
      child.off('message', receive);
      resolve(message);
    });
  });
}
