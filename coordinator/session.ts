/** The functions that work on any session (zope.sqlalchemy's register, mark_changed, join_transaction). */
import { ConfigurationError, describe } from './errors.ts';
import { aBoolean, checkOptions, oneOf, type Rule } from './options.ts';
import type { JoinOptions, MarkChangedOptions, RegisterOptions, Session, SessionState } from './types.ts';

const initialState = oneOf('active', 'changed', 'readonly');

export const aCoordinator: Rule = {
  requires: 'a TransactionCoordinator or a TransactionManager',
  accepts: (value) =>
    typeof value === 'object' && value !== null && typeof (value as { enlist?: unknown }).enlist === 'function',
};

const registerRules: Record<keyof RegisterOptions, Rule> = {
  initialState,
  keepSession: aBoolean,
  twoPhase: oneOf('auto', true, false),
  coordinator: aCoordinator,
  detectWrites: aBoolean,
};
const joinRules: Record<keyof JoinOptions, Rule> = { initialState, keepSession: aBoolean };
const markChangedRules: Record<keyof MarkChangedOptions, Rule> = { keepSession: aBoolean };

/**
 * Sets how a session takes part in transactions, and returns it, so that it can be used inline.
 * @throws ConfigurationError when it is no session, or for unknown or impossible options.
 */
export function register<S extends Session>(session: S, options: RegisterOptions = {}): S {
  checkSession('register', session);
  checkOptions('register()', options, registerRules);
  session.configure(options);
  return session;
}

/**
 * Says that a session has written something which can't be seen from outside, so that it is committed (zope 133). Joins the
 * session where it has not joined.
 *
 * @throws TransactionStateError when it was declared read-only (zope 148), NoTransaction or TransactionClosed without a transaction.
 */
export function markChanged(session: Session, options: MarkChangedOptions = {}): void {
  checkSession('markChanged', session);
  checkOptions('markChanged()', options, markChangedRules);
  session.markChanged(options);
}

/**
 * Joins a session to the current transaction before its first statement does.
 * @throws NoTransaction or TransactionClosed where there is no transaction.
 */
export function joinTransaction(session: Session, options: JoinOptions = {}): void {
  checkSession('joinTransaction', session);
  checkOptions('joinTransaction()', options, joinRules);
  session.joinTransaction(options);
}

/** The state of a session in the current transaction; undefined where it has not joined, or there is none. */
export function sessionState(session: Session): SessionState | undefined {
  checkSession('sessionState', session);
  return session.state;
}

function checkSession(where: string, session: unknown): asserts session is Session {
  const candidate = session as Partial<Record<keyof Session, unknown>> | null | undefined;
  if (
    typeof candidate !== 'object' ||
    candidate === null ||
    typeof candidate.configure !== 'function' ||
    typeof candidate.markChanged !== 'function' ||
    typeof candidate.joinTransaction !== 'function'
  ) {
    throw new ConfigurationError(`${where}() takes a session, such as new PgSession(pool), not ${describe(session)}`);
  }
}
