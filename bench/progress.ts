// Says how much time is left, to whoever waits: on stderr, so that results can be written to a file.

const OFTEN_MS = 15_000;
/** Before as much is done, nothing can be said about how fast it goes here. */
const ENOUGH_SECONDS = 20;

export class Progress {
  /** Seconds that everything was expected to take. */
  readonly #expected: number;
  readonly #start: number = performance.now();
  #done = 0;
  #said = 0;
  #where = '';

  constructor(expectedSeconds: number) {
    this.#expected = expectedSeconds;
  }

  /** @param seconds how long it was expected to take, whatever it took. */
  did(seconds: number, where: string): void {
    this.#done += seconds;
    const now = performance.now();
    if (where === this.#where && now - this.#said < OFTEN_MS) return;
    this.#where = where;
    this.#said = now;
    const passed = (now - this.#start) / 1000;
    const pace = this.#done < ENOUGH_SECONDS ? 1 : passed / this.#done;
    const left = Math.max(0, this.#expected - this.#done) * pace;
    console.error(`[${minutes(left)} left, ${minutes(passed)} passed] ${where}`);
  }
}

export function minutes(seconds: number): string {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}
