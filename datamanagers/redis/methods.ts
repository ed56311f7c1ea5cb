/** Gives an object the methods of a client, whose names are known only when there is one. */

/** What a method does: `method` is its name, `name` that of the command, which differ where Buffers are asked for. */
export type CommandMethod = (method: string, name: string, args: unknown[]) => unknown;

/** Adds `name` and `nameBuffer` for each command, unless the object has a method of its own. */
export function addMethods(target: object, names: readonly string[], call: CommandMethod): void {
  for (const name of names) {
    for (const method of [name, `${name}Buffer`]) {
      if (method in target) continue;
      define(target, method, function (this: unknown, ...args: unknown[]) {
        return call.call(this, method, name, args);
      });
    }
  }
}

/** Adds `scanStream` and its like. */
export function addStreams(target: object, make: (method: string, args: unknown[]) => unknown): void {
  for (const name of ['scan', 'sscan', 'hscan', 'zscan']) {
    for (const method of [`${name}Stream`, `${name}BufferStream`]) {
      define(target, method, (...args: unknown[]) => make(method, args));
    }
  }
}

/** Not enumerable, as methods of a class are. */
function define(target: object, name: string, value: (...args: unknown[]) => unknown): void {
  Object.defineProperty(target, name, { value, configurable: true, writable: true });
}
