// pg-cursor brings no types of its own; what the tests use of it.
declare module 'pg-cursor' {
  export default class Cursor {
    constructor(text: string, values?: readonly unknown[]);
    submit(connection: object): void;
    read(rows: number): Promise<Record<string, number>[]>;
    close(): Promise<void>;
  }
}
