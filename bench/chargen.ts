const lineBytes = 74
const lines = 95

/** The character generator's text (RFC 864) repeats after this many bytes. */
export const chargenPeriod = lines * lineBytes

/** What every competitor hands to one write: whole periods, so that the same chunk can follow itself. */
export const chargenChunkBytes = 9 * chargenPeriod

/** That chunk: lines of 72 of the 95 printable characters, each beginning one further, ended by CR and LF. */
export function chargenChunk(): Buffer {
  return Buffer.from(Uint8Array.from({ length: chargenChunkBytes }, (_, offset) => chargenByte(offset)))
}

function chargenByte(offset: number): number {
  const line = Math.floor(offset / lineBytes)
  const column = offset % lineBytes
  if (column === 72) return 13
  if (column === 73) return 10
  return 32 + ((line + column) % lines)
}
