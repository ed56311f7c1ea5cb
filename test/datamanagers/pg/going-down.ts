// A server that goes down right behind something that it has said, in one piece with it.
import type { TcpProxy } from '../../support/proxy.ts';

/** ReadyForQuery without the state of the transaction, which is one more byte. */
const READY = Buffer.from([0x5a, 0, 0, 0, 5]);

export const IDLE = 'I';

function fatal(): Buffer {
  const fields = ['SFATAL', 'VFATAL', 'C57P01', 'Mterminating connection due to unexpected postmaster exit'];
  const body = Buffer.from(`${fields.join('\0')}\0\0`);
  const head = Buffer.alloc(5);
  head.write('E');
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

/** Once, where the server is ready for more and `when` is met: it goes down behind that, or, without `isReady`, before it has said so. */
export function goDown(
  proxy: TcpProxy,
  { isReady, when }: { isReady: boolean; when: (said: Buffer, state: string, link: object) => boolean },
): void {
  proxy.onServerData = (data, link) => {
    const at = data.length - READY.length - 1;
    if (at < 0 || !data.subarray(at, -1).equals(READY)) return undefined;
    if (!when(data, String.fromCharCode(data.at(-1)!), link)) return undefined;
    proxy.onServerData = undefined;
    link.client.end(Buffer.concat([isReady ? data : data.subarray(0, at), fatal()]));
    link.server.destroy();
    return false;
  };
}
