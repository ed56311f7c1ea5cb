// The controller's side of a contender: one long-lived process of plain Node, that works only when it is asked to.
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Request, Response } from './serve.ts';

export class Contender {
  readonly name: string;
  readonly #process: ChildProcess;

  private constructor(name: string, process: ChildProcess) {
    this.name = name;
    this.#process = process;
  }

  /** Starts a built script; resolves when it is ready. */
  static async start(name: string, script: string, args: readonly string[]): Promise<Contender> {
    // None of the controller's own flags, such as a loader, which would be measured too.
    const child = fork(script, args, {
      execArgv: ['--expose-gc', ...(process.env['BENCH_NODE_FLAGS'] ?? '').split(' ').filter(Boolean)],
      serialization: 'advanced',
    });
    const contender = new Contender(name, child);
    await contender.#response();
    return contender;
  }

  /** Asks for something, and waits for the answer. */
  async ask<T>(name: string, argument?: unknown): Promise<T> {
    this.#process.send({ name, argument } satisfies Request);
    return (await this.#response()) as T;
  }

  async #response(): Promise<unknown> {
    const stop = new AbortController();
    try {
      const response = await Promise.race([
        once(this.#process, 'message', { signal: stop.signal }).then(([message]) => message as Response),
        once(this.#process, 'exit', { signal: stop.signal }).then(([code]): Response => {
          return { failure: `'${this.name}' ended with ${String(code)}` };
        }),
      ]);
      if ('failure' in response) throw new Error(response.failure);
      return response.answer;
    } finally {
      stop.abort();
    }
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, 'exit');
    this.#process.disconnect();
    await ended;
  }
}
