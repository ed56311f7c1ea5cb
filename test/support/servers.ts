// The servers that tests run against: a function for each kind, which returns the server that all files of a run share,
// and one for a private server that a test may kill.
//
// Where they come from, in this order: addresses in the environment (UNANIMOUS_TEST_PG_URL, UNANIMOUS_TEST_MARIADB_URL,
// UNANIMOUS_TEST_MYSQL_URL, UNANIMOUS_TEST_REDIS_URL), npm, the machine, and on Debian as root apt-get. What is not to be
// had is skipped aloud, which fails where CI=true.
export { postgres, startPostgres, type PrivatePostgres, type SharedPostgres } from './servers/postgres.ts';
export {
  mariadb,
  mysql,
  startMariadb,
  startMysql,
  type PrivateMariadb,
  type SharedMariadb,
} from './servers/mariadb.ts';
export {
  redis,
  startRedis,
  startRedisCluster,
  type PrivateRedis,
  type PrivateRedisCluster,
  type SharedRedis,
} from './servers/redis.ts';
