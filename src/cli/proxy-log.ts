import { formatEndpoint } from '../errors.js'
import type { Front } from '../proxy/front.js'
import type { SessionEnd } from '../proxy/session.js'

/** A session as one line of JSON. */
export function sessionLine(front: Front, { session, outcome, side, error }: SessionEnd): string {
  const { from, beganMs, joinedMs, upstream, server, bytes, uniqueId } = session
  const nowMs = session.nowMs()
  return JSON.stringify({
    time: new Date().toISOString(),
    listener: front.name,
    client: from.address === undefined ? undefined : formatEndpoint(from.address, from.port),
    id: uniqueId === undefined ? undefined : Buffer.from(uniqueId).toString('utf8'),
    ...{ upstream, server, outcome, side },
    connectMs: joinedMs === undefined ? undefined : joinedMs - beganMs,
    durationMs: nowMs - beganMs,
    bytesIn: bytes[0],
    bytesOut: bytes[1],
    error: error?.message,
  })
}

/** What is worth a line of a session that failed: nothing of what clients do every day. */
export function sessionNotice(front: Front, { session, side, outcome, error }: SessionEnd): string | undefined {
  if (side === 'client' || error === undefined || everyday.has(outcome)) return undefined
  const { from, upstream, server } = session
  const client = from.address === undefined ? 'a client' : formatEndpoint(from.address, from.port)
  const where = [upstream, server].filter(Boolean).join(', ')
  return `${front.name}: ${client}${where ? ` to ${where}` : ''}: ${error.message}`
}

const everyday: ReadonlySet<string> = new Set([
  ...['ERR_SLUICE_CONNECTION_RESET', 'ERR_SLUICE_BROKEN_PIPE', 'ERR_SLUICE_TUNNEL_TIMEOUT', 'ERR_SLUICE_FIN_TIMEOUT'],
])
