/** Protocol messages that never change, encoded once (PostgreSQL: Message Formats). */

const NO_PARAMETERS = Buffer.alloc(6);
const ALL_ROWS = Buffer.alloc(4);

function message(type: string, ...fields: Buffer[]): Buffer {
  const body = Buffer.concat(fields);
  const header = Buffer.alloc(5);
  header.write(type);
  header.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([header, body]);
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`);
}

function parse(name: string, statement: string): Buffer {
  return message('P', text(name), text(statement), Buffer.alloc(2));
}

function bindAndExecute(name: string): Buffer {
  return Buffer.concat([message('B', text(''), text(name), NO_PARAMETERS), EXECUTE]);
}

/** Parse, Bind and Execute of a statement without parameters; prepared under `name`, or unnamed where that is `''`. */
export function runStatement(statement: string, name = ''): Buffer {
  return Buffer.concat([parse(name, statement), bindAndExecute(name)]);
}

/** Bind and Execute of a prepared statement without parameters. */
export function runPrepared(name: string): Buffer {
  return bindAndExecute(name);
}

/** Execute of the unnamed portal, for all rows. */
export const EXECUTE: Buffer = message('E', text(''), ALL_ROWS);

/** The end of a flight. */
export const SYNC: Buffer = message('S');
