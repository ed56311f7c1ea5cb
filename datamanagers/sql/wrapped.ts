/** Errors of a driver inside of those that libraries make of them (SQLAlchemy: DBAPIError.orig, which zope.sqlalchemy looks into). */

/** Where libraries keep the error that they have caught, besides `cause`. */
interface Wrapping {
  /** Sequelize. */
  readonly parent?: unknown;
  /** TypeORM. */
  readonly driverError?: unknown;
  /** Prisma's client. */
  readonly meta?: { readonly driverAdapterError?: unknown };
  /** Prisma's driver adapters, which keep the parts of it. */
  readonly cause?: unknown;
}

/** What Prisma's driver adapters keep of an error. */
interface Kept {
  readonly originalCode?: unknown;
  readonly originalMessage?: unknown;
}

const DEPTH = 4;

/** The error of the driver that a library's error is made of; the error itself where it is of no kind that is known here. */
export function driverErrorOf(error: Error): Error {
  let found = error;
  for (let depth = 0; depth < DEPTH; depth++) {
    const { parent, driverError, meta } = found as Wrapping;
    const inner = parent ?? driverError ?? meta?.driverAdapterError;
    if (!(inner instanceof Error)) break;
    found = inner;
  }
  const kept = (found as Wrapping).cause as Kept | null | undefined;
  if (typeof kept?.originalCode !== 'string') return found;
  return Object.assign(new Error(String(kept.originalMessage), { cause: error }), {
    code: kept.originalCode,
    severity: 'ERROR',
  });
}
