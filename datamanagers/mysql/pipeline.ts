/**
 * Several statements in one flight: `mysql2` waits for each answer before it sends the next statement, though the server takes them
 * one behind the other. Only for statements of which each later one fails where an earlier one has, as `XA PREPARE` does
 * without its `XA END`.
 */
import type { MysqlCallback, MysqlCommand, MysqlCore, MysqlCoreClass, MysqlError } from './driver.ts';

/** The answer to one statement. */
export interface Answer {
  readonly error: MysqlError | undefined;
  readonly rows: unknown;
}

/** Runs the statements, all of them whatever the others' answers; resolves with an answer for each. */
export function pipeline(core: MysqlCore, texts: readonly string[]): Promise<Answer[]> {
  const { createQuery } = core.constructor as unknown as MysqlCoreClass;
  // The compressed protocol numbers its packets in another way.
  const canFly = texts.length > 1 && createQuery !== undefined && !core.config.compress;
  return canFly ? inOneFlight(core, createQuery, texts) : oneByOne(core, texts);
}

async function oneByOne(core: MysqlCore, texts: readonly string[]): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (const text of texts) answers.push(await answered((callback) => core.query(text, undefined, callback)));
  return answers;
}

function inOneFlight(
  core: MysqlCore,
  createQuery: NonNullable<MysqlCoreClass['createQuery']>,
  texts: readonly string[],
): Promise<Answer[]> {
  const commands: MysqlCommand[] = [];
  const answers = texts.map((text) =>
    answered((callback) => void commands.push(createQuery(text, undefined, callback, core.config))),
  );
  core.addCommand(new Flight(commands));
  return Promise.all(answers);
}

function answered(ask: (callback: MysqlCallback) => void): Promise<Answer> {
  return new Promise((resolve) => {
    ask((error, rows) => resolve({ error: error ?? undefined, rows }));
  });
}

/** A command of `mysql2` that consists of others. */
class Flight {
  readonly #commands: readonly MysqlCommand[];
  #sent = false;
  #answered = 0;

  constructor(commands: readonly MysqlCommand[]) {
    this.#commands = commands;
  }

  execute(packet: unknown, core: MysqlCore): boolean {
    if (!this.#sent) {
      this.#sent = true;
      for (const command of this.#commands) {
        core._resetSequenceId();
        command.next = command.start(undefined, core);
      }
      return false;
    }
    if (!this.#commands[this.#answered]!.execute(packet, core)) return false;
    this.#answered++;
    // Packets are numbered from each statement on, of which the first is 0.
    core.sequenceId = 1;
    return this.#answered === this.#commands.length;
  }

  /** Called where the connection is lost. */
  onResult(error: MysqlError): void {
    for (const command of this.#commands.slice(this.#answered)) command.onResult?.(error);
  }

  /** Called in the driver's debug mode. */
  stateName(): string {
    return `statement ${this.#answered + 1} of ${this.#commands.length}`;
  }
}
