/** What a client asks for in the clear when it begins TLS. */
export interface ClientHello {
  /** Undefined where it names none. */
  readonly serverName: string | undefined
  /** What it offers, most wanted first. */
  readonly alpn: readonly string[]
}

/** More than any client needs, post-quantum keys and all. */
export const maxHelloBytes = 16_384

const handshakeRecord = 22
const clientHelloMessage = 1
const serverNameExtension = 0
const alpnExtension = 16

/**
 * Looks at the first bytes of a client, which may be parts of its hello.
 *
 * @returns `'needMore'`; undefined for what is no TLS, or not well formed: that is for the server to refuse. Source: RFC
 *   8446, 4.1.2; RFC 6066, 3; RFC 7301.
 */
export function parseClientHello(bytes: Uint8Array): ClientHello | 'needMore' | undefined {
  const message = handshakeBytes(bytes)
  if (message === undefined) return undefined
  try {
    const reader = new Reader(message)
    if (reader.byte() !== clientHelloMessage) return undefined
    const hello = new Reader(reader.take(reader.number(3)))
    hello.take(2 + 32)
    hello.take(hello.byte())
    hello.take(hello.number(2))
    hello.take(hello.byte())
    return hello.left === 0 ? { serverName: undefined, alpn: [] } : extensionsOf(hello.take(hello.number(2)))
  } catch (error) {
    if (!(error instanceof TooShort)) throw error
    return bytes.length < maxHelloBytes ? 'needMore' : undefined
  }
}

// What the records hold so far: a hello may be spread over several.
function handshakeBytes(bytes: Uint8Array): Uint8Array | undefined {
  const parts: Uint8Array[] = []
  let at = 0
  while (at < bytes.length) {
    if (bytes[at] !== handshakeRecord) return undefined
    if (at + 1 < bytes.length && bytes[at + 1] !== 3) return undefined
    if (at + 5 > bytes.length) break
    const length = (bytes[at + 3]! << 8) | bytes[at + 4]!
    if (length === 0 || length > 16_384) return undefined
    parts.push(bytes.subarray(at + 5, at + 5 + length))
    at += 5 + length
  }
  return parts.length === 1 ? parts[0] : Buffer.concat(parts)
}

function extensionsOf(bytes: Uint8Array): ClientHello | undefined {
  const extensions = new Reader(bytes)
  let serverName: string | undefined
  let alpn: string[] = []
  // What is malformed within is not waited for: all of it is here.
  try {
    while (extensions.left > 0) {
      const type = extensions.number(2)
      const content = new Reader(extensions.take(extensions.number(2)))
      if (type === serverNameExtension) {
        content.number(2)
        if (content.byte() === 0) serverName = latin1(content.take(content.number(2)))
      } else if (type === alpnExtension) {
        content.number(2)
        alpn = []
        while (content.left > 0) alpn.push(latin1(content.take(content.byte())))
      }
    }
  } catch (error) {
    if (error instanceof TooShort) return undefined
    throw error
  }
  return { serverName: serverName || undefined, alpn }
}

class TooShort extends Error {}

class Reader {
  private at = 0

  constructor(private readonly bytes: Uint8Array) {}

  get left(): number {
    return this.bytes.length - this.at
  }

  byte(): number {
    return this.take(1)[0]!
  }

  number(sizeBytes: number): number {
    return this.take(sizeBytes).reduce((sum, byte) => sum * 256 + byte, 0)
  }

  take(sizeBytes: number): Uint8Array {
    if (sizeBytes > this.left) throw new TooShort()
    this.at += sizeBytes
    return this.bytes.subarray(this.at - sizeBytes, this.at)
  }
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}
