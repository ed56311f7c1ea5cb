/** The module `pg` for libraries that take no pool, but make their own clients or pools of what the module exports. */
import { ConfigurationError, describe } from '../../coordinator/errors.ts';
import type { Enlisting } from '../sql/enlistment.ts';
import { ContextualClient } from './contextual.ts';
import type { PgPool, PgTypes } from './driver.ts';

/** What a module looks like that exports what `pg` does. */
export interface PgModule {
  readonly Client: unknown;
  readonly Pool: unknown;
}

/**
 * The same module but for `Client` and `Pool`. Whatever they are asked to connect to, it is the session's database.
 * @throws ConfigurationError when it isn't the module `pg`.
 */
export function driverModule<M extends PgModule>(module: M, session: Enlisting, plain: PgPool, enlisting: PgPool): M {
  if (typeof (module as Partial<PgModule> | null)?.Client !== 'function' || typeof module.Pool !== 'function') {
    throw new ConfigurationError(`driver() takes the module pg, not ${describe(module)}`, { resource: session.name });
  }
  class Client extends ContextualClient {
    constructor(config?: { types?: PgTypes | undefined } | string) {
      super(session, plain, typeof config === 'object' ? config.types : undefined);
    }
  }
  function Pool(): PgPool {
    return enlisting;
  }
  return { ...module, Client, Pool };
}
