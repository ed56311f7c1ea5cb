/** One Redis server: at a fixed address, or the one that sentinels say is the master now. */
import type { Awaitable } from '../../coordinator/types.ts';
import type { NodeClient, RedisClient } from './driver.ts';
import { RedisNode, type NodeSetup } from './node.ts';
import type { CommandSender, RedisServers } from './servers.ts';

export class StandaloneServer implements RedisServers {
  readonly #node: RedisNode;

  constructor(client: RedisClient, setup: NodeSetup) {
    // The options of sentinels are kept: each new connection asks them for the master.
    this.#node = new RedisNode((options) => client.duplicate(options) as NodeClient, setup);
  }

  slotOf(): undefined {
    return undefined;
  }

  reader(): Awaitable<CommandSender> {
    return this.#node.connection ?? this.#node.shared();
  }

  nodeOf(): RedisNode {
    return this.#node;
  }

  anyNode(): RedisNode {
    return this.#node;
  }

  redirection(): undefined {
    return undefined;
  }

  close(): void {
    this.#node.close();
  }
}
