// What is measured on MariaDB.

/** `write`: SELECT by key, UPDATE by key. */
export type Workload = 'write';

export const SELECT = 'select balance from accounts where id = ?';
export const UPDATE = 'update accounts set balance = balance + ? where id = ?';
/** How many connections a contender may have. */
export const CONNECTIONS = 16;
