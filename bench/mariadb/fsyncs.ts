// How often a MariaDB has flushed its log. It has no binary log here, which would be flushed as well.
import mysql from 'mysql2/promise';

/** From 10.8 on those of the log are counted among all of InnoDB, of which others are few. */
const LOG = 'Innodb_os_log_fsyncs';
const ALL = 'Innodb_data_fsyncs';

type Status = mysql.RowDataPacket & { Variable_name: string; Value: string };

export async function fsyncsOfMariadb(url: string): Promise<number | undefined> {
  const connection = await mysql.createConnection(url);
  try {
    const [rows] = await connection.query<Status[]>('show global status where variable_name in (?)', [[LOG, ALL]]);
    const counted = rows.find(({ Variable_name: name }) => name === LOG) ?? rows[0];
    return counted === undefined ? undefined : Number(counted.Value);
  } finally {
    await connection.end();
  }
}
