/** `unanimous/pg`: PostgreSQL by `pg`. */
export { PgSession, type PgSessionOptions } from './session.ts';
export { PgDecisionLog, type PgDecisionLogOptions } from './decision-log.ts';
export type { SqlSession } from '../sql/session.ts';
export type { PgField, PgPool, PgPoolClient, PgQueryConfig, PgResult, PgSubmittable } from './driver.ts';
