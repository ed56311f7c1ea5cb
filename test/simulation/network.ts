// Calls of servers by processes: they take their time, get lost on the way there or back, and land late. A server works on a call in
// steps of its own, and forgets it when it dies.
import { ConnectionLostError } from 'unanimous';
import { Owner, type Simulator } from './simulator.ts';

/** Answers a call, once. */
export type Reply = (answer: () => unknown) => void;

/** A process of a database. */
export class Server extends Owner {
  readonly #simulator: Simulator;
  #waiting: (() => void)[] = [];

  constructor(name: string, simulator: Simulator) {
    super(name);
    this.#simulator = simulator;
  }

  /** Goes on in a moment, unless it dies before: a write that has to be durable. */
  soon(callback: () => void): void {
    const { random } = this.#simulator;
    // A disk that is busy takes much longer, now and then.
    const takesMs = random.between(0.05, 2) * (random.chance(0.02) ? random.between(10, 100) : 1);
    this.#simulator.after(takesMs, this, callback);
  }

  /** Calls back as soon as something holds, which is looked for whenever something was let go. */
  when(holds: () => boolean, callback: () => void): void {
    const look = (): void => {
      if (holds()) callback();
      else this.#waiting.push(look);
    };
    look();
  }

  /** Something was let go. */
  letGo(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const look of waiting) look();
  }

  override die(): void {
    super.die();
    this.#waiting = [];
  }
}

/** How bad a network is. */
export interface Weather {
  /** Of calls and of answers. */
  readonly loss: number;
  /** How long a message takes at least and mostly, in milliseconds; some take much longer. */
  readonly delayMs: number;
}

export class Network {
  readonly #simulator: Simulator;
  weather: Weather = { loss: 0, delayMs: 0.5 };
  /** Pairs that can't reach each other. */
  readonly #cut = new Set<string>();

  constructor(simulator: Simulator) {
    this.#simulator = simulator;
  }

  cut(a: Owner, b: Owner): void {
    this.#cut.add(`${a.name} ${b.name}`);
  }

  heal(): void {
    this.#cut.clear();
    this.weather = { loss: 0, delayMs: 0.5 };
  }

  /**
   * Calls a server from the process whose code runs. Rejects with ConnectionLostError where no answer comes in time, and it isn't known whether
   * the server has done it, or will.
   */
  call<T>(server: Server, work: (reply: Reply) => void, timeoutMs: number): Promise<T> {
    const simulator = this.#simulator;
    const caller = simulator.current;
    if (caller === undefined) throw new Error('only a process can call a server');
    // An answer is for the life in which it was asked for.
    const callerLife = caller.life;
    return new Promise<T>((resolve, reject) => {
      const lost = (): void =>
        reject(new ConnectionLostError(`no answer of ${server.name}`, { resource: server.name }));
      const timer = simulator.after(timeoutMs, caller, lost);
      if (this.#isLost(caller, server)) return;
      simulator.after(this.#delay(), undefined, () => {
        if (!server.isUp) return;
        // The server's own steps are its own, and die with it.
        simulator.current = server;
        const { life } = server;
        let isAnswered = false;
        work((answer) => {
          if (isAnswered || server.life !== life) return;
          isAnswered = true;
          if (this.#isLost(caller, server)) return;
          const arrive = (): void => {
            if (timer.isCancelled) return;
            timer.isCancelled = true;
            try {
              resolve(answer() as T);
            } catch (error) {
              reject(error);
            }
          };
          simulator.after(this.#delay(), caller, arrive, callerLife);
        });
      });
    });
  }

  #isLost(caller: Owner, server: Server): boolean {
    return this.#cut.has(`${caller.name} ${server.name}`) || this.#simulator.random.chance(this.weather.loss);
  }

  #delay(): number {
    const { random } = this.#simulator;
    const usual = this.weather.delayMs * random.between(0.5, 2);
    // A few take long enough to land when nobody waits for them any more.
    return random.chance(0.02) ? usual * random.between(10, 2_000) : usual;
  }
}
