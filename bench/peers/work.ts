// The same two statements in the words of a library, whatever the database.

/** SELECT by key and UPDATE by key over what a library does statements with: a database of it, or a transaction. */
export type Work<Over> = (over: Over, id: number) => Promise<unknown>;

/** The statements as text, and by a builder of statements. */
export type Works<Over> = { readonly text: Work<Over>; readonly builder: Work<Over> };
