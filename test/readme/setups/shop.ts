// The shop of examples/order, whose addresses are in ORDERS_URL, STOCK_URL, CACHE_URL, ORDERS_FOLDER and SMTP_URL; three files have come in.
import { Outside } from '../../../examples/order/outside.ts';
import { Smtp } from '../../../examples/support/smtp.ts';
import { Folder } from '../../datamanagers/files/setup.ts';
import { mariadb, postgres, startRedis } from '../../support/servers.ts';
import type { Started } from '../setups.ts';

/** As it is to be beside databases: else recovery warns of it. */
const DURABLE = { flags: ['--appendonly', 'yes'] };

export async function start(): Promise<Started> {
  const [orders, stock] = await Promise.all([postgres(), mariadb()]);
  const [redis, smtp, folder] = await Promise.all([startRedis(DURABLE), Smtp.start(), Folder.open()]);
  const places = {
    ORDERS_URL: await orders.database('orders'),
    STOCK_URL: await stock.database('stock'),
    CACHE_URL: redis.url,
    ORDERS_FOLDER: folder.path,
  };
  const outside = new Outside(places, smtp);
  await outside.open();
  for (const id of [1, 2, 3]) await outside.receive(id);
  await outside.close();
  return {
    env: { ...places, SMTP_URL: smtp.url },
    stop: () => Promise.all([redis.stop(), smtp.stop(), folder.remove()]),
  };
}
