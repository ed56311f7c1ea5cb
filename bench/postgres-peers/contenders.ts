// All ways to do the same transaction on PostgreSQL by the libraries that others use.
import type { Make } from './make.ts';

/** Each library is loaded by whoever is measured with it, and by nobody else. */
const libraries = {
  pg: () => import('./pg.ts'),
  postgresJs: () => import('./postgres-js.ts'),
  kysely: () => import('./kysely.ts'),
  drizzle: () => import('./drizzle.ts'),
  knex: () => import('./knex.ts'),
  typeorm: () => import('./typeorm.ts'),
  nestjsCls: () => import('./nestjs-cls.ts'),
} as const;

type Libraries = typeof libraries;
type Library = keyof Libraries;

/** A library and a way to use it, such as `kysely.text`. */
export type ContenderName = {
  [L in Library]: `${L}.${Extract<keyof Awaited<ReturnType<Libraries[L]>>['makers'], string>}`;
}[Library];

export async function makerOf(name: ContenderName): Promise<Make> {
  const [library, way] = name.split('.') as [Library, string];
  const { makers } = await libraries[library]();
  return (makers as Readonly<Record<string, Make>>)[way]!;
}
