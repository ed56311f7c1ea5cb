// Protects services with decorators in their legacy form that don't load reflect-metadata: they need nothing of it.
import { Transactional, transaction } from 'unanimous';
import { assert, suite } from '../support/suite.ts';

const test = suite('decorators without metadata');

test('@Transactional in legacy form makes a transaction around a method also where nothing keeps metadata', async () => {
  assert.not.ok('getOwnMetadataKeys' in Reflect);
  const decorate = Transactional() as unknown as (
    target: object,
    name: string,
    descriptor: PropertyDescriptor,
  ) => PropertyDescriptor | undefined;
  const { greet } = { greet: (): string => transaction.get().description };
  const descriptor = { value: greet, configurable: true, writable: true };
  const decorated = decorate({}, 'greet', descriptor) ?? descriptor;
  assert.is(await (decorated.value as () => Promise<string>)(), 'greet');
});
