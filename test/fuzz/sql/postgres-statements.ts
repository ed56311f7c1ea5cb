// What PostgreSQL is asked: a little of everything, and much that fails.
import type { Use } from './script.ts';

/** A statement, with what is put into it. */
export interface Statement {
  readonly text: string;
  readonly values?: unknown[];
}

/** A value that the driver itself can't encode: it fails before anything is sent. */
const unencodable = {
  toPostgres(): never {
    throw new Error('this value says that it can not be encoded');
  },
};

/** What the tables are before a script. */
export const POSTGRES_TABLES = `
  drop schema public cascade;
  create schema public;
  create table items (id serial primary key, key int unique, value int not null check (value < 12), note text);
  create table parts (id int primary key, item int references items (key) deferrable initially deferred);
  create table counts (key int primary key, count int not null);
  insert into counts values (0, 0), (1, 10), (2, 20);
  create function bump(which int) returns int language sql volatile as
    $$ update counts set count = count + 1 where key = which returning count $$;
  create function refuse(what text) returns int language plpgsql as
    $$ begin raise exception using errcode = 'P0001', message = what; end $$;
  create function careful(which int) returns int language plpgsql as
    $$ begin
      insert into counts values (which, 0);
      return 1;
    exception when unique_violation then
      return 0;
    end $$;
`;

type Numbers = Pick<Use, 'a' | 'b'>;

const writes: readonly ((use: Numbers) => Statement)[] = [
  ({ a, b }) => ({ text: 'insert into items (key, value) values ($1, $2) returning id', values: [a, b] }),
  ({ a, b }) => ({ text: 'insert into items (key, value, note) values ($1, $2, $3)', values: [a, b, 'ünïcode'] }),
  ({ a, b }) => ({ text: `insert into items (key, value) values (${a}, ${b})` }),
  ({ a, b }) => ({
    text: 'insert into items (key, value) values ($1, $2) on conflict (key) do update set value = items.value + 1 returning *',
    values: [a, b],
  }),
  ({ a, b }) => ({
    text: 'insert into items (key, value) values ($1, $2) on conflict do nothing returning id',
    values: [a, b],
  }),
  ({ a, b }) => ({
    text: 'insert into items (key, value) select $1 + n, n from generate_series(1, $2) n',
    values: [a, b],
  }),
  ({ a, b }) => ({ text: 'update items set value = value + $1 where key = $2', values: [b, a] }),
  ({ a, b }) => ({ text: 'update items set value = value + $1 where key <= $2 returning *', values: [b, a] }),
  ({ a, b }) => ({ text: `update counts set count = count + ${b} where key = ${a % 3} returning key, count` }),
  ({ a }) => ({ text: 'delete from items where key = $1', values: [a] }),
  ({ a }) => ({ text: `delete from items where key > ${a} returning key` }),
  ({ a, b }) => ({ text: 'insert into parts values ($1, $2)', values: [a, b] }),
  ({ a }) => ({ text: 'delete from parts where id = $1 returning *', values: [a] }),
  ({ a, b }) => ({
    text: 'with changed as (update items set value = value + $1 where key = $2 returning *) select count(*) from changed',
    values: [b, a],
  }),
  ({ a }) => ({ text: 'select bump($1)', values: [a % 4] }),
  ({ a }) => ({ text: `select bump(${a % 4}) as bumped` }),
  ({ a }) => ({ text: 'select careful($1)', values: [a] }),
  () => ({ text: "select nextval('items_id_seq')" }),
];

const reads: readonly ((use: Numbers) => Statement)[] = [
  () => ({ text: 'select * from items order by id' }),
  ({ a }) => ({ text: 'select * from items where value >= $1 order by id', values: [a] }),
  ({ a }) => ({ text: 'select * from items where key = $1 for update', values: [a] }),
  ({ a }) => ({ text: 'select id, key from items where key <> $1 order by id', values: [a] }),
  ({ a }) => ({ text: 'select count(*)::int as many, sum(value) from items where key > $1', values: [a] }),
  ({ a }) => ({ text: 'select * from parts where id >= $1 order by id', values: [a] }),
  ({ a }) => ({ text: 'table counts order by key limit $1', values: [a] }),
  ({ a }) => ({ text: `select count from counts where key = ${a}` }),
  ({ a, b }) => ({ text: 'select $1::int + $2::int as sum, $3::text as text', values: [a, b, null] }),
  ({ a }) => ({ text: 'select n from generate_series(1, $1::int) n', values: [a] }),
  ({ a }) => ({ text: 'select $1::bytea as bytes, $2::jsonb as json', values: [Buffer.from([a, 0, 255]), { a }] }),
  ({ a }) => ({ text: 'values ($1::int, 2), (3, 4)', values: [a] }),
  () => ({ text: 'show transaction_isolation' }),
  () => ({ text: 'show transaction_read_only' }),
  () => ({ text: '(select 1 as one) union all (select 2)' }),
  () => ({ text: '' }),
  () => ({ text: '-- nothing at all' }),
  () => ({ text: ' ; ' }),
];

const failing: readonly ((use: Numbers) => Statement)[] = [
  ({ a }) => ({ text: 'select 1 / $1::int as quotient', values: [a % 2] }),
  () => ({ text: 'select 1 / 0' }),
  ({ a }) => ({ text: 'select * from nowhere where id = $1', values: [a] }),
  ({ a }) => ({ text: 'insert into nowhere values ($1)', values: [a] }),
  ({ a }) => ({ text: 'selec $1', values: [a] }),
  () => ({ text: "select 'unterminated" }),
  ({ a }) => ({ text: 'select missing from items where key = $1', values: [a] }),
  ({ a }) => ({ text: 'select $1::int + 1', values: [a % 2 === 0 ? a : 'not a number'] }),
  ({ a }) => ({ text: 'insert into items (key, value) values ($1, null)', values: [a] }),
  ({ a }) => ({ text: 'insert into items (key, value) values ($1, 99)', values: [a] }),
  ({ a }) => ({ text: 'select refuse($1)', values: [`number ${a}`] }),
  ({ a }) => ({ text: 'select $1::text', values: [a % 2 === 0 ? 'encodable' : unencodable] }),
  ({ a }) => ({ text: 'insert into counts values ($1, 1)', values: [a % 2 === 0 ? a : unencodable] }),
];

const several: readonly ((use: Numbers) => Statement)[] = [
  ({ a, b }) => ({ text: `insert into items (key, value) values (${a}, ${b}); select * from items order by id` }),
  ({ a }) => ({
    text: `update counts set count = count + 1; select 1 / ${a % 2}; update counts set count = count + 1`,
  }),
  ({ a }) => ({ text: `select 1 as one; select ${a} as other;` }),
  ({ a }) => ({ text: `insert into counts values (${a}, 1); selec` }),
  ({ a }) => ({ text: 'select 1; select $1::int', values: [a] }),
];

const settings: readonly ((use: Numbers) => Statement)[] = [
  ({ a }) => ({ text: `set local work_mem = '${a + 1}MB'` }),
  () => ({ text: 'show work_mem' }),
  ({ a }) => ({ text: 'select set_config($1, $2, true)', values: ['fuzz.setting', String(a)] }),
  () => ({ text: "select current_setting('fuzz.setting', true) as setting" }),
  () => ({ text: 'set constraints all immediate' }),
  () => ({ text: 'set constraints all deferred' }),
  () => ({ text: 'lock table counts in share row exclusive mode' }),
];

const definitions: readonly ((use: Numbers) => Statement)[] = [
  ({ a, b }) => ({ text: `alter table items add column extra_${a} int default ${b}` }),
  ({ a }) => ({ text: `alter table items drop column if exists extra_${a}` }),
  ({ a }) => ({ text: `alter table items alter column value type ${a % 2 === 0 ? 'bigint' : 'int'}` }),
  ({ a }) => ({ text: `alter table items alter column note type ${a % 2 === 0 ? 'varchar(20)' : 'text'}` }),
  () => ({ text: 'alter table parts rename to pieces' }),
  () => ({ text: 'alter table if exists pieces rename to parts' }),
  () => ({ text: 'create table extra (id int primary key)' }),
  () => ({ text: 'drop table if exists extra' }),
  ({ a }) => ({ text: 'insert into extra values ($1) returning *', values: [a] }),
  ({ a }) => ({ text: 'select * from extra where id <= $1 order by id', values: [a] }),
  () => ({ text: 'create index on items (value)' }),
  () => ({ text: 'truncate parts' }),
  () => ({ text: 'create or replace view overview as select key, count from counts' }),
  ({ a }) => ({ text: 'select * from overview where key = $1', values: [a] }),
  () => ({ text: 'create temporary table scratch (v int) on commit drop' }),
  ({ a }) => ({ text: 'insert into scratch values ($1) returning v', values: [a] }),
];

/** What an altered table does to statements that were prepared before: they return other columns. */
const altering: readonly ((use: Numbers) => Statement)[] = [
  ...[...writes, ...reads].filter((statement) => /\$.*\*|\*.*\$/.test(statement({ a: 0, b: 0 }).text)),
  ...definitions.slice(0, 4),
  ...definitions.slice(0, 4),
];

/** From which a script takes its palette: what writes and reads, what alters tables meanwhile, and all of it. */
export const POSTGRES_THEMES: readonly (readonly ((use: Numbers) => Statement)[])[] = [
  [...writes, ...reads],
  altering,
  [...writes, ...writes, ...reads, ...failing, ...several, ...settings, ...definitions],
];

/** The same without what PostgreSQL can't prepare, for transactions over several databases. */
export const POSTGRES_PREPARABLE: typeof POSTGRES_THEMES = POSTGRES_THEMES.map((theme) =>
  theme.filter((statement) => !/temporary|scratch/.test(statement({ a: 0, b: 0 }).text)),
);
