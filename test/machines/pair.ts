// A PostgreSQL and its standby, each on a machine of its own, and the address that applications know, which moves in a failover.
import type { Host, Network } from './network.ts';
import { PG_PORT, type HostedServer, ask, startPostgresOn } from './servers.ts';
import { eventually } from './partitions.ts';

const STANDBY = 'standby';

export class Pair {
  /** The one that was the primary at first. */
  readonly first: HostedServer;
  readonly second: HostedServer;
  readonly #network: Network;
  readonly #address: string;

  private constructor(network: Network, first: HostedServer, second: HostedServer, address: string) {
    this.#network = network;
    this.first = first;
    this.second = second;
    this.#address = address;
  }

  /** The first one has a database `bank`, the second one follows, not waited for. */
  static async open(network: Network, name: string, address: string): Promise<Pair> {
    const hosts = [await network.add(`${name}1`), await network.add(`${name}2`)] as const;
    const first = await startPostgresOn(hosts[0]);
    await ask(first, 'create database bank');
    await first.kill('SIGINT');
    const conninfo = `host=${hosts[0].address} port=${PG_PORT} user=postgres application_name=${STANDBY}`;
    // Both have everything that is written until a transaction is waited for.
    const second = await startPostgresOn(
      hosts[1],
      { primary_conninfo: conninfo, wal_retrieve_retry_interval: '100ms' },
      first,
    );
    await first.restart();
    const pair = new Pair(network, first, second, address);
    await network.move(address, hosts[0]);
    await pair.whenFollowing();
    return pair;
  }

  get hosts(): readonly Host[] {
    return [this.first.host, this.second.host];
  }

  /** The address of a database for applications: of whichever server is the primary. */
  url(database: string): string {
    return `postgres://postgres@${this.#address}:${PG_PORT}/${database}`;
  }

  /** From now on a commit is answered when the standby has it too. */
  async synchronous(): Promise<void> {
    await ask(this.first, `alter system set synchronous_standby_names = '${STANDBY}'`);
    await ask(this.first, 'select pg_reload_conf()');
    await eventually('the standby must be synchronous', async () => (await this.#states()).includes('sync'));
  }

  async asynchronous(): Promise<void> {
    await ask(this.first, 'alter system reset synchronous_standby_names');
    await ask(this.first, 'select pg_reload_conf()');
  }

  async whenFollowing(): Promise<void> {
    await eventually('the standby must follow', async () => (await this.#states()).length > 0);
  }

  /** How the standbys that stream follow. */
  async #states(): Promise<string[]> {
    const rows = await ask<{ sync_state: string }>(
      this.first,
      "select sync_state from pg_stat_replication where state = 'streaming'",
    );
    return rows.map((row) => row.sync_state);
  }

  /** The standby hears nothing more of the primary. */
  separate(): Promise<void> {
    return this.#network.cut(this.first.host, [this.second.host]);
  }

  async rejoin(): Promise<void> {
    await this.#network.heal(this.first.host, [this.second.host]);
    await this.whenFollowing();
  }

  /** The standby becomes a primary; applications still know the other one. */
  async promote(): Promise<void> {
    await ask(this.second, 'select pg_promote()');
    await eventually('the standby must be promoted', async () => {
      const [row] = await ask<{ is_standby: boolean }>(this.second, 'select pg_is_in_recovery() as is_standby');
      return !row!.is_standby;
    });
  }

  /** The machine of the first one is gone, from one moment to the next. */
  async lose(): Promise<void> {
    await this.#network.unplug(this.first.host);
    await this.first.kill();
  }

  /** Applications know the second one from now on. */
  move(): Promise<void> {
    return this.#network.move(this.#address, this.second.host);
  }

  async stop(): Promise<void> {
    await Promise.all([this.first.stop(), this.second.stop()]);
  }
}
