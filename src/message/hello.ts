import { messageError } from './failure.js'
import { maxPayloadBytes } from './packet.js'

/** The version of the wire format that is spoken here. */
export const wireVersion = 1

/** What each side says first. Source: SF-74, docs/wire-format.md. */
export interface Hello {
  /** Messages taken at once. */
  slots: number
  /** Bytes of each body taken unasked. */
  window: number
  /** Requests taken before they are answered. */
  requests: number
  protocols: readonly HelloProtocol[]
  /** Engines whose packets can be read, the best first. */
  compression: readonly string[]
  /** The sender's pool, 16 hex digits; '' for none. */
  pool: string
}

/** A protocol in a hello; `types` are numbered in order, through all protocols. */
export interface HelloProtocol {
  name: string
  version: number
  types: readonly string[]
}

const magic = [0x53, 0x4c]
const maxTypes = 65_536

/** The payload of the packet. */
export function encodeHello(hello: Hello, versions: readonly [number, number] = [wireVersion, wireVersion]): Buffer {
  const { compression, pool, ...needed } = hello
  const json = { ...needed, ...(compression.length > 0 && { compression }), ...(pool !== '' && { pool }) }
  const payload = Buffer.concat([Buffer.from([...magic, ...versions]), Buffer.from(JSON.stringify(json))])
  if (payload.length > maxPayloadBytes)
    throw messageError('MESSAGE_VERSION', `the names of all types together take more than ${maxPayloadBytes} bytes`)
  return payload
}

/**
 * Reads the payload of the packet.
 *
 * @throws {SluiceError} `ERR_SLUICE_MESSAGE_VERSION` when no version is spoken by both sides,
 *   `ERR_SLUICE_MESSAGE_INVALID_PACKET` for what is no hello.
 */
export function decodeHello(payload: Uint8Array): Hello {
  if (payload.length < 4 || payload[0] !== magic[0] || payload[1] !== magic[1])
    throw invalid('it does not begin as one')
  const [lowest, highest] = [payload[2]!, payload[3]!]
  if (lowest > wireVersion || highest < wireVersion) {
    const text = `the peer speaks versions ${lowest} to ${highest} of the wire format, this side ${wireVersion}`
    throw messageError('MESSAGE_VERSION', text)
  }
  let json: unknown
  try {
    json = JSON.parse(Buffer.from(payload.subarray(4)).toString())
  } catch {
    throw invalid('it is no JSON')
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw invalid('it is no object')
  const given = json as Record<string, unknown>
  const protocols = listOf(given.protocols, 'protocols').map(protocolOf)
  if (protocols.reduce((sum, { types }) => sum + types.length, 0) > maxTypes) throw invalid('it has too many types')
  return {
    slots: integerOf(given.slots, 'slots', 1, 1024),
    window: integerOf(given.window, 'window', 4096, 1 << 30),
    requests: integerOf(given.requests, 'requests', 1, 65_536),
    protocols,
    compression: given.compression === undefined ? [] : listOf(given.compression, 'compression').map(String),
    pool: given.pool === undefined ? '' : poolOf(given.pool),
  }
}

function protocolOf(value: unknown): HelloProtocol {
  if (typeof value !== 'object' || value === null) throw invalid('"protocols" holds something else')
  const { name, version, types } = value as Record<string, unknown>
  return {
    name: nameOf(name, 'a protocol'),
    version: integerOf(version, 'version', 0, 1 << 30),
    types: listOf(types, 'types').map((type) => nameOf(type, 'a type')),
  }
}

function poolOf(value: unknown): string {
  if (typeof value !== 'string' || !/^[0-9a-f]{16}$/.test(value)) throw invalid('"pool" is no 16 hex digits')
  return value
}

function nameOf(value: unknown, what: string): string {
  if (typeof value !== 'string' || value === '' || value.length > 255) throw invalid(`the name of ${what}`)
  return value
}

function listOf(value: unknown, member: string): unknown[] {
  if (!Array.isArray(value) || value.length > maxTypes) throw invalid(`"${member}" is no list`)
  return value
}

function integerOf(value: unknown, member: string, min: number, max: number): number {
  if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
    throw invalid(`"${member}" is no number from ${min} to ${max}`)
  }
  return value as number
}

function invalid(why: string) {
  return messageError('MESSAGE_INVALID_PACKET', `of the hello, ${why}`)
}
