/** No server of a kind is to be had here; the message says how to get it. */
export class ServerUnavailable extends Error {
  override readonly name: string = 'ServerUnavailable';
}
