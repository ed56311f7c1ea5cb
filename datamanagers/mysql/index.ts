/** `unanimous/mysql`: MySQL and MariaDB through `mysql2`. */
export { MysqlDecisionLog, type MysqlDecisionLogOptions } from './decision-log.ts';
export { MysqlSession, type MysqlSessionOptions } from './session.ts';
export type { MysqlField, MysqlPool, MysqlPreparedStatement, MysqlQueryOptions, MysqlResultHeader } from './driver.ts';
