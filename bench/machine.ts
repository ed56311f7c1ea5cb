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
  readonly pg: string;
};

export function describeMachine(): Machine {
  const all = cpus();
  const { version } = JSON.parse(readFileSync(createRequire(import.meta.url).resolve('pg/package.json'), 'utf8')) as {
    version: string;
  };
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    load: Math.round(loadavg()[0]! * 100) / 100,
    platform: `${process.platform} ${process.arch}`,
    node: process.versions.node,
    v8: process.versions.v8,
    pg: version,
  };
}

export function printMachine({ cpu, cores, load, platform, node, v8, pg }: Machine): void {
  console.log(`${cores} cores of ${cpu} (${platform}), load ${load} before; Node ${node} (V8 ${v8}), pg ${pg}`);
}
