/** Reading a stream to its end, for a response that is kept until its transaction commits. */
import { tooLarge } from './held-response.ts';

type Chunks = AsyncIterable<string | Uint8Array>;

/** True for a stream of Node or of the web. */
export function isStream(body: unknown): body is Chunks {
  return (
    typeof body === 'object' && body !== null && Symbol.asyncIterator in body && ('pipe' in body || 'getReader' in body)
  );
}

/** @throws TransactionStateError for more than `maxBufferBytes`, and what the stream fails with. */
export async function collect(stream: Chunks, maxBufferBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // Leaving the loop destroys the stream.
  for await (const chunk of stream) {
    const piece = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    bytes += piece.byteLength;
    if (bytes > maxBufferBytes) throw tooLarge(maxBufferBytes);
    chunks.push(piece);
  }
  return Buffer.concat(chunks);
}
