/** Hash slots of a cluster: which node has a key (Redis Cluster specification, "Key distribution model"). */

/** How many slots a cluster has. */
const SLOTS = 16_384;

const POLYNOMIAL = 0x1021;
/** CRC16-CCITT (XMODEM), by the high byte. */
const crcTable: readonly number[] = Array.from({ length: 256 }, (_, high) => {
  let crc = high << 8;
  for (let bit = 0; bit < 8; bit++) crc = ((crc << 1) ^ (crc & 0x8000 ? POLYNOMIAL : 0)) & 0xffff;
  return crc;
});

const OPEN = 0x7b;
const CLOSE = 0x7d;

/** The slot of a key: of what its first pair of braces encloses, where that is something, else of the whole. */
export function slotOf(key: string | Buffer): number {
  const bytes = typeof key === 'string' ? Buffer.from(key) : key;
  const open = bytes.indexOf(OPEN);
  const close = open < 0 ? -1 : bytes.indexOf(CLOSE, open + 1);
  const hashed = close > open + 1 ? bytes.subarray(open + 1, close) : bytes;
  let crc = 0;
  for (const byte of hashed) crc = ((crc << 8) & 0xffff) ^ crcTable[(crc >> 8) ^ byte]!;
  return crc % SLOTS;
}

const tags = new Map<number, string>();
let tried = 0;

/** A short text whose slot is the given one, for a hash tag. Found by trying, and remembered: there are no more than slots. */
export function tagOf(slot: number): string {
  for (;;) {
    const known = tags.get(slot);
    if (known !== undefined) return known;
    const tag = (tried++).toString(36);
    const found = slotOf(tag);
    if (!tags.has(found)) tags.set(found, tag);
  }
}
