// Where it was measured: numbers from different machines don't compare.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus, loadavg } from 'node:os';

export type Machine = {
  readonly cpu: string;
  readonly cores: number;
  readonly load: number;
  readonly platform: string;
  readonly node: string;
  readonly v8: string;
  /** The drivers and their versions. */
  readonly drivers: Readonly<Record<string, string>>;
};

export function describeMachine(): Machine {
  const all = cpus();
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    load: Math.round(loadavg()[0]! * 100) / 100,
    platform: `${process.platform} ${process.arch}`,
    node: process.versions.node,
    v8: process.versions.v8,
    drivers: Object.fromEntries(['pg', 'mysql2', 'ioredis'].map((name) => [name, versionOf(name)])),
  };
}

function versionOf(name: string): string {
  const file = createRequire(import.meta.url).resolve(`${name}/package.json`);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

export function printMachine({ cpu, cores, load, platform, node, v8, drivers }: Machine): void {
  const versions = Object.entries(drivers).map((each) => each.join(' '));
  console.log(
    `${cores} cores of ${cpu} (${platform}), load ${load} before; Node ${node} (V8 ${v8}), ${versions.join(', ')}`,
  );
}
