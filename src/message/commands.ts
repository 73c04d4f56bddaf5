// The commands in a data packet. Source: SF-02, docs/wire-format.md.

export const commandNew = 2
export const commandContinue = 4
/** Of the two above: the message ends in this chunk. */
export const lastChunkBit = 1
export const commandGiveUp = 6
export const commandGrant = 7
export const commandCancelRequest = 8
export const commandRefuse = 10
export const commandMoreParts = 11

/** Of a chunk: the bytes that one may hold. */
export const maxChunkBytes = 65_535
