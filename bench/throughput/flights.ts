// Counts round trips where they begin: at the sockets of this process, whatever library writes to them.
import { Socket } from 'node:net';

/** The methods of a socket that every byte passes. */
type Wire = {
  _write(...args: unknown[]): unknown;
  _writev(...args: unknown[]): unknown;
  push(...args: unknown[]): unknown;
};

/** Counts writes that follow a read of their socket, or come first. It costs, so that a process which counts isn't measured. */
export class Flights {
  count = 0;

  constructor() {
    const prototype = Socket.prototype as unknown as Wire;
    const { _write, _writev, push } = prototype;
    const said = new WeakSet<object>();
    const onWrite = (socket: object): void => {
      if (said.has(socket)) return;
      said.add(socket);
      this.count++;
    };
    prototype._write = function (...args) {
      onWrite(this);
      return _write.apply(this, args);
    };
    prototype._writev = function (...args) {
      onWrite(this);
      return _writev.apply(this, args);
    };
    prototype.push = function (...args) {
      said.delete(this);
      return push.apply(this, args);
    };
  }
}
