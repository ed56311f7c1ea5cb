// pg-cursor brings no types of its own; what the tests use of it.
declare module 'pg-cursor' {
  export default class Cursor<R = Record<string, number>> {
    constructor(text: string, values?: readonly unknown[]);
    submit(connection: object): void;
    read(rows: number): Promise<R[]>;
    close(): Promise<void>;
  }
}
