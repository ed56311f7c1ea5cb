// Two databases of a MariaDB: orders in the one whose address is in SHOP_URL, goods in that of STOCK_URL.
import driver from 'mysql2/promise';
import { mariadb } from '../../support/servers.ts';
import type { Started } from '../setups.ts';

const orders = 'create table orders (id int primary key auto_increment, goods varchar(20), amount int not null)';
const goods = `create table goods (name varchar(20) primary key, stock int not null);
  insert into goods values ('apple', 100), ('pear', 5)`;

export async function start(): Promise<Started> {
  const server = await mariadb();
  const [shop, stock] = await Promise.all([server.database('shop'), server.database('stock')]);
  for (const [url, texts] of [
    [shop, orders],
    [stock, goods],
  ] as const) {
    const connection = await driver.createConnection({ uri: url, multipleStatements: true });
    await connection.query(texts);
    await connection.end();
  }
  // The databases are dropped when this process ends: other examples use the server too.
  return { env: { SHOP_URL: shop, STOCK_URL: stock }, stop: () => Promise.resolve() };
}
