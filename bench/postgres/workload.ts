// What is measured on PostgreSQL.

/** `write`: SELECT by key, UPDATE by key. `read`: SELECT by key. */
export type Workload = 'write' | 'read';

export const SELECT = 'select balance from accounts where id = $1';
export const UPDATE = 'update accounts set balance = balance + $2 where id = $1';
