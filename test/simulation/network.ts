// Calls of servers by processes: they take their time, get lost on the way there or back, land late, and overtake each other. A server works on
// a call in steps of its own, and forgets it when it dies.
//
// What can really happen, and so happens here: TCP neither doubles nor reorders what is sent on one connection, and a client sends nothing more
// on one whose answer it still waits for. But where an answer doesn't come, the client closes that connection and asks again by a new one, and
// the server may still work on what came by the first: so what is asked again (ending a branch, listing, reading, renewing, settling,
// fencing, deleting) can land twice, in either order, and behind what was sent much later. What belongs to a connection (a statement, PREPARE,
// COMMIT, the decision) is never sent again, by the library neither; it can land late, and once at most.
import { ConnectionLostError } from 'unanimous';
import { Owner, type Simulator } from './simulator.ts';
import type { Situation, Situations } from './situations.ts';

/** Answers a call, once. */
export type Reply = (answer: () => unknown) => void;

/** A process of a database. */
export class Server extends Owner {
  readonly #simulator: Simulator;
  #waiting: (() => void)[] = [];
  /** The latest of what has landed, by sender. */
  readonly latest = new Map<Owner, number>();
  /** So many times as slow as ever: its disk, or its processor, is busy. */
  slowness = 1;

  constructor(name: string, simulator: Simulator) {
    super(name);
    this.#simulator = simulator;
  }

  /** Goes on in a moment, unless it dies before: a write that has to be durable. */
  soon(callback: () => void): void {
    const { random } = this.#simulator;
    // A disk that is busy takes much longer, now and then.
    const takesMs = random.between(0.05, 2) * this.slowness * (random.chance(0.02) ? random.between(10, 100) : 1);
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

const FINE: Weather = { loss: 0, delayMs: 0.5 };

/** What a call asks for, where that is of interest. */
export type Purpose = 'PREPARE' | 'COMMIT PREPARED' | 'ROLLBACK PREPARED' | 'COMMIT' | 'a decision' | 'something else';

export interface CallOptions {
  readonly timeoutMs: number;
  readonly purpose?: Purpose;
  /** Whether the client asks again by another connection, where the answer takes long. */
  readonly asksAgain?: boolean;
}

/** How often a process dies at the very moment at which it sends something, while things go wrong. */
const DIES_AT_SEND = 0.0004;

/** Something that was asked, and who waits for the answer. */
interface Exchange {
  readonly caller: Owner;
  /** An answer is for the life in which it was asked for. */
  readonly life: number;
  readonly server: Server;
  readonly work: (reply: Reply) => void;
  readonly purpose: Purpose;
  readonly settle: (answer: () => unknown) => void;
  isOver: boolean;
  /** Its latest connection: what comes by an earlier one isn't heard. */
  connection: number;
  landed: number;
}

export class Network {
  readonly #simulator: Simulator;
  readonly #situations: Situations;
  weather: Weather = FINE;
  /** Pairs that can't reach each other. */
  readonly #cut = new Set<string>();
  /** Lets a process die; undefined where nobody dies any more. */
  kill: ((caller: Owner) => void) | undefined = undefined;
  #sent = 0;

  constructor(simulator: Simulator, situations: Situations) {
    this.#simulator = simulator;
    this.#situations = situations;
  }

  cut(a: Owner, b: Owner): void {
    this.#cut.add(pairOf(a, b));
  }

  heal(): void {
    this.#cut.clear();
    this.weather = FINE;
  }

  /**
   * Calls a server from the process whose code runs. Rejects with ConnectionLostError where no answer comes in time, and it isn't known whether
   * the server has done it, or will.
   */
  call<T>(server: Server, work: (reply: Reply) => void, options: CallOptions): Promise<T> {
    const { timeoutMs, purpose = 'something else', asksAgain = false } = options;
    const simulator = this.#simulator;
    const caller = simulator.current;
    if (caller === undefined) throw new Error('only a process can call a server');
    // It has died in this turn: nothing of it goes on.
    if (!caller.isUp || this.#dies(caller, 'before it sent something')) return new Promise(() => undefined);
    return new Promise<T>((resolve, reject) => {
      const { life } = caller;
      caller.calls.set(server.name, (caller.calls.get(server.name) ?? 0) + 1);
      const settle = (answer: () => unknown): void => {
        exchange.isOver = true;
        timer.isCancelled = true;
        caller.calls.set(server.name, caller.calls.get(server.name)! - 1);
        try {
          resolve(answer() as T);
        } catch (error) {
          reject(error);
        }
      };
      const exchange: Exchange = {
        caller,
        life,
        server,
        work,
        purpose,
        settle,
        isOver: false,
        connection: 1,
        landed: 0,
      };
      const timer = simulator.after(timeoutMs, caller, () =>
        settle(() => {
          throw new ConnectionLostError(`no answer of ${server.name}`, { resource: server.name });
        }),
      );
      this.#send(exchange);
      if (asksAgain) simulator.after(timeoutMs / 2, caller, () => this.#sendAgain(exchange));
      this.#dies(caller, 'right after it had sent something');
    });
  }

  #dies(caller: Owner, when: 'before it sent something' | 'right after it had sent something'): boolean {
    if (this.kill === undefined || !this.#simulator.random.chance(DIES_AT_SEND)) return false;
    this.#situations.occurred(`a process died in the middle of a turn, ${when}`);
    this.kill(caller);
    return true;
  }

  #sendAgain(exchange: Exchange): void {
    if (exchange.isOver) return;
    exchange.connection++;
    this.#send(exchange);
  }

  #send(exchange: Exchange): void {
    const { caller, server, connection } = exchange;
    const number = ++this.#sent;
    if (this.#isLost(caller, server)) return;
    this.#simulator.after(this.#delay(), undefined, () => {
      if (server.isUp) this.#land(exchange, connection, number);
    });
  }

  #land(exchange: Exchange, connection: number, number: number): void {
    const { caller, life, server, work, purpose } = exchange;
    this.#notice(exchange, number);
    // The server's own steps are its own, and die with it.
    this.#simulator.current = server;
    const serverLife = server.life;
    let isAnswered = false;
    work((answer) => {
      if (isAnswered || server.life !== serverLife) return;
      isAnswered = true;
      const isLost = this.#isLost(caller, server);
      if (purpose !== 'something else' && (isLost || exchange.isOver)) {
        this.#situations.occurred(`the answer to ${purpose} was lost`);
      }
      if (isLost) return;
      const arrive = (): void => {
        if (!exchange.isOver && exchange.connection === connection) exchange.settle(answer);
      };
      this.#simulator.after(this.#delay(), caller, arrive, life);
    });
  }

  #notice(exchange: Exchange, number: number): void {
    const { caller, life, server, isOver } = exchange;
    const notice = (situation: Situation): void => this.#situations.occurred(situation);
    if (caller.life !== life) notice('a message landed whose sender was dead');
    else if (isOver) notice('a message landed when nobody waited for it any more');
    if (++exchange.landed === 2) notice('a message that was sent twice landed twice');
    if (number < (server.latest.get(caller) ?? 0)) notice('a message was overtaken by a later one');
    else server.latest.set(caller, number);
  }

  #isLost(caller: Owner, server: Server): boolean {
    return (
      (this.#cut.size > 0 && this.#cut.has(pairOf(caller, server))) || this.#simulator.random.chance(this.weather.loss)
    );
  }

  #delay(): number {
    const { random } = this.#simulator;
    const usual = this.weather.delayMs * random.between(0.5, 2);
    // A few take long enough to land when nobody waits for them any more.
    return random.chance(0.02) ? usual * random.between(10, 2_000) : usual;
  }
}

function pairOf(a: Owner, b: Owner): string {
  return `${a.name} ${b.name}`;
}
