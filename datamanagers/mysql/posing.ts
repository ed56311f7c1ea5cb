/** Objects that are taken for others. */

/**
 * The same object but for what is its own, `instanceof` included. Where methods of the object need to be called on itself, `on` is that:
 * they are, and one that returns it returns what it is taken for.
 */
export function posingAs<T extends object>(target: T, own: Readonly<Record<string, unknown>>, on?: object): T {
  const posing: T = new Proxy(target, {
    get: (_, key) => {
      if (typeof key === 'string' && Object.hasOwn(own, key)) return own[key];
      const value = Reflect.get(target, key) as unknown;
      if (on === undefined || typeof value !== 'function' || key === 'constructor') return value;
      return (...args: unknown[]): unknown => {
        const result = Reflect.apply(value, on, args) as unknown;
        return result === on ? posing : result;
      };
    },
  });
  return posing;
}
