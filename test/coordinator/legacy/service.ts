// A class with legacy decorators, run by transactional.test.ts in a process of its own: the form is chosen for a whole program.
import 'reflect-metadata';
import { Transactional, transaction } from 'unanimous';

/** As the decorators of frameworks do: notes something on the function. */
function Route(path: string): MethodDecorator {
  return (_target, _key, descriptor) => Reflect.defineMetadata('path', path, descriptor.value as object);
}

const ended: string[] = [];

class Service {
  readonly name = 'service';

  @Transactional({ note: 'greet' })
  @Route('/greet')
  async greet(whom: string): Promise<string> {
    const txn = transaction.get();
    txn.addAfterCommitHook((committed) => void ended.push(`${txn.description} ${committed}`));
    return `${this.name} greets ${whom}`;
  }

  @Route('/inner')
  @Transactional({ propagation: 'mandatory' })
  async inner(): Promise<void> {}
}

const service = new Service();
const greeting = await service.greet('you');
const refused = await service.inner().catch((error: { code: string }) => error.code);
console.log(
  JSON.stringify({
    greeting,
    ended,
    refused,
    name: service.greet.name,
    parameters: service.greet.length,
    paths: [service.greet, service.inner].map((method): unknown => Reflect.getMetadata('path', method)),
  }),
);
