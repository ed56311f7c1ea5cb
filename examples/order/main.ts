// npm run example:order: orders over PostgreSQL, MariaDB, Redis, files and mails, all of them real, while things go wrong.
import { startMariadb } from '../support/mariadb.ts';
import { startEmbeddedPostgres } from '../support/postgres.ts';
import { startRedis } from '../support/redis.ts';
import { inOwnFolder } from '../support/server-process.ts';
import { Smtp } from '../support/smtp.ts';
import { heading, paint, say } from '../support/terminal.ts';
import { Outside } from './outside.ts';

process.once('exit', (code) => {
  if (code === 130) say('\ninterrupted: the servers are stopped and their folders removed');
});

heading('unanimous: an order over PostgreSQL, MariaDB, Redis, files and mails');
const startedAt = performance.now();
// Removed at the end, also after a crash or Ctrl-C, as those of the servers.
const files = await inOwnFolder(async (folder, watchdog) => ({ folder, watchdog }));
const [postgres, mariadb, redis, smtp] = await Promise.all([
  startEmbeddedPostgres({ databases: ['orders'] }),
  startMariadb({ product: 'mariadb', databases: ['stock'] }),
  // Redis is killed in the show: what it has answered is to be there when it is started again.
  startRedis({ flags: ['--appendonly', 'yes', '--appendfsync', 'always'] }),
  Smtp.start(),
]);
const places = {
  ORDERS_URL: postgres.url('orders'),
  STOCK_URL: mariadb.url('stock'),
  CACHE_URL: redis.url,
  ORDERS_FOLDER: files.folder,
  SMTP_URL: smtp.url,
};
const outside = new Outside(places, smtp);
try {
  say(`  servers of its own have started in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  for (const [name, place] of Object.entries(places)) say(`    ${name.padEnd(13)}  ${paint('dim', place)}`);
  await outside.open();
  Object.assign(process.env, places);
  // Imported now, because order.ts reads these variables when it is imported.
  const { Show } = await import('./show.ts');
  process.exitCode = (await new Show({ mariadb, redis, smtp }, outside).run()) ? 0 : 1;
} finally {
  await outside.close();
  await Promise.all([postgres.stop(), mariadb.stop(), redis.stop(), smtp.stop(), files.watchdog.finish()]);
}
