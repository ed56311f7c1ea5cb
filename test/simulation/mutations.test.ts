// Protects the simulation: each of the mistakes that a protocol like this one is made wrong by is found, so that its silence means something.
// A core that has nothing else to do makes about two and a half million steps a minute, and all but one of them take far fewer; how many that
// one takes (who is alive is read too early) depends on chance, as every change of the sources makes other worlds.
import { assert, suite } from '../support/suite.ts';
import { MUTATIONS, type Mutation, hunt } from './mutations.ts';

const STEPS = 10_000_000;
const TIMEOUT_MS = 540_000;
/** As many as there are cores on the smallest machine that this is run on. */
const AT_ONCE = 2;

const test = suite('mistakes that the simulation finds', { timeoutMs: TIMEOUT_MS + 10_000 });

type Found = Awaited<ReturnType<typeof hunt>>;

const hunts = new Map<Mutation, PromiseWithResolversOf<Found>>(MUTATIONS.map((mutation) => [mutation, resolvers()]));

interface PromiseWithResolversOf<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T | PromiseLike<T>) => void;
}

function resolvers(): PromiseWithResolversOf<Found> {
  let resolve: PromiseWithResolversOf<Found>['resolve'];
  const promise = new Promise<Found>((given) => (resolve = given));
  return { promise, resolve: resolve! };
}

async function huntAll(): Promise<void> {
  for (const [mutation, { resolve }] of queue) {
    const hunting = hunt(mutation, { steps: STEPS, timeoutMs: TIMEOUT_MS });
    resolve(hunting);
    await hunting.catch(() => undefined);
  }
}

const queue = hunts.entries();

test.before(() => {
  for (let index = 0; index < AT_ONCE; index++) void huntAll();
});

for (const mutation of MUTATIONS) {
  test(mutation.name, async () => {
    const { isFound, output } = await hunts.get(mutation)!.promise;
    assert.ok(isFound, output);
  });
}
