// PROXY headers as values: what is read of them, and what is written for which options.
import {
  type Connection,
  createCertificate,
  ProxyHeader,
  type ProxySendOptions,
  Runtime,
  type SluiceError,
} from 'sluice'
import { afterAll, describe, expect, it } from 'vitest'
import { portOf } from '../support/pair.js'

const signature = '0d0a0d0a000d0a515549540a'
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')
const tcp4 = hex(`${signature} 2111000c c0000201 c6336405 dc04 01bb`)
const client = { address: '192.0.2.1', port: 56324 }
const server = { address: '198.51.100.5', port: 443 }

function tlv(type: number, value: string | Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, 0, Buffer.byteLength(value)]), Buffer.from(value as string)])
}

function tcp4With(...tlvs: Buffer[]): Buffer {
  const header = Buffer.concat([tcp4, ...tlvs])
  header.writeUInt16BE(header.length - 16, 14)
  return header
}

function read(bytes: Uint8Array): ProxyHeader {
  const parsed = ProxyHeader.parse(bytes)
  expect(parsed?.bytesUsed).toBe(bytes.length)
  return parsed!.header
}

function refusal(run: () => unknown): SluiceError {
  try {
    run()
  } catch (error) {
    return error as SluiceError
  }
  throw new Error('nothing was refused')
}

describe('ProxyHeader.parse', () => {
  it('reads a line of version 1 and leaves what follows', () => {
    const parsed = ProxyHeader.parse(Buffer.from('PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\nGET /'))
    expect(parsed?.bytesUsed).toBe(40)
    expect(parsed?.header.toJSON()).toMatchObject({
      version: 1,
      command: 'PROXY',
      family: 'IPv6',
      transport: 'stream',
      replacesAddresses: true,
      source: { address: '2001:db8::1', port: 1, family: 'IPv6' },
      destination: { address: '2001:db8::2', port: 2, family: 'IPv6' },
      tlvs: [],
    })
  })

  it('answers undefined while the header is not complete', () => {
    for (let size = 0; size < tcp4.length; ++size) expect(ProxyHeader.parse(tcp4.subarray(0, size))).toBeUndefined()
    expect(ProxyHeader.parse(tcp4)).toBeDefined()
  })

  it('reads everything that the TLVs say', () => {
    const ssl = [hex('07 00000000'), tlv(0x21, 'TLSv1.3'), tlv(0x22, 'client1'), tlv(0x28, hex('3000'))]
    const more = [tlv(0x25, 'RSA'), tlv(0x23, 'AES')]
    const header = read(
      tcp4With(
        ...[tlv(1, 'h2'), tlv(2, 'example.com'), tlv(5, hex('00ff01')), tlv(0x30, 'blue'), tlv(0xea, '')],
        tlv(0x20, Buffer.concat([...ssl, ...more])),
      ),
    )
    expect(header.alpn).toBe('h2')
    expect(header.authority).toBe('example.com')
    expect(header.uniqueId).toEqual(Buffer.from([0, 255, 1]))
    expect(header.netns).toBe('blue')
    expect(header.tlvs.map(({ type }) => type)).toEqual([1, 2, 5, 0x30, 0xea, 0x20])
    expect(header.value(0xea)).toEqual(Buffer.alloc(0))
    expect(header.value(0xeb)).toBeUndefined()
    expect(header.ssl).toMatchObject({
      client: 7,
      verify: 0,
      encrypted: true,
      hasCertificate: true,
      verified: true,
      version: 'TLSv1.3',
      commonName: 'client1',
      cipher: 'AES',
      keyAlgorithm: 'RSA',
      group: undefined,
      certificate: Buffer.from([0x30, 0]),
    })
    expect(header.ssl).toBe(header.ssl)
    expect(JSON.parse(JSON.stringify(header))).toMatchObject({ uniqueId: '00ff01', ssl: { verified: true } })
  })

  it('does not take a malformed SSL part for one that says something', () => {
    expect(read(tcp4With(tlv(0x20, hex('07000000')))).ssl).toBeUndefined()
    expect(read(tcp4).ssl).toBeUndefined()
  })

  it('keeps the own addresses for LOCAL, UNKNOWN, UDP and Unix sockets', () => {
    const local = read(hex(`${signature} 20000000`))
    expect(local).toMatchObject({ command: 'LOCAL', replacesAddresses: false, source: undefined, family: undefined })
    expect(read(Buffer.from('PROXY UNKNOWN\r\n'))).toMatchObject({ command: 'PROXY', replacesAddresses: false })
    const udp = read(Buffer.concat([tcp4.subarray(0, 13), hex('12'), tcp4.subarray(14)]))
    expect(udp).toMatchObject({ transport: 'dgram', replacesAddresses: false, source: { address: '192.0.2.1' } })
    const path = Buffer.alloc(108)
    path.write('/run/a')
    const unix = read(Buffer.concat([hex(`${signature} 213100d8`), path, Buffer.alloc(108)]))
    expect(unix).toMatchObject({ family: 'unix', source: { path: '/run/a' }, destination: undefined })
  })

  it('says why it refuses, as HAProxy does', () => {
    expect(refusal(() => ProxyHeader.parse(Buffer.from('GET / HTTP/1.1\r\n')))).toMatchObject({
      code: 'ERR_SLUICE_BAD_PROXY_HEADER',
      reason: 'PRX_NOT_HDR',
    })
    expect(refusal(() => ProxyHeader.parse(Buffer.from('PROXY TCP4 1.2.3.4\r\n'))).reason).toBe('PRX_BAD_HDR')
    expect(refusal(() => ProxyHeader.parse(Buffer.from('PROXY TCP7 '))).reason).toBe('PRX_BAD_PROTO')
    expect(refusal(() => ProxyHeader.parse('PROXY' as never)).option).toBe('bytes')
  })

  it('takes limits', () => {
    const header = ProxyHeader.write({
      source: client,
      destination: server,
      tlvs: [{ type: 0xe0, value: 'x'.repeat(50) }],
    })
    expect(ProxyHeader.parse(header, { maxTlvBytes: 50 })).toBeDefined()
    expect(refusal(() => ProxyHeader.parse(header, { maxTlvBytes: 49 })).reason).toBe('PRX_BAD_HDR')
    expect(refusal(() => ProxyHeader.parse(header, { maxHeaderBytes: header.length - 1 })).reason).toBe('PRX_BAD_HDR')
    expect(refusal(() => ProxyHeader.parse(header, { maxHeaderBytes: 15 })).option).toBe('maxHeaderBytes')
  })
})

describe('ProxyHeader.write', () => {
  it('writes the vectors', () => {
    expect(ProxyHeader.write({ source: client, destination: server })).toEqual(tcp4)
    expect(ProxyHeader.write({ source: client, destination: server, crc32c: true, authority: 'example.com' })).toEqual(
      hex(`${signature} 21110021 c0000201 c6336405 dc04 01bb 030004e0e040a9 02000b6578616d706c652e636f6d`),
    )
    expect(ProxyHeader.write({})).toEqual(hex(`${signature} 20000000`))
    expect(ProxyHeader.write({ version: 1, source: client, destination: server }).toString()).toBe(
      'PROXY TCP4 192.0.2.1 198.51.100.5 56324 443\r\n',
    )
    expect(ProxyHeader.write({ version: 1 }).toString()).toBe('PROXY UNKNOWN\r\n')
  })

  it('writes what it can read again', () => {
    const ssl = { client: 3, verify: 18, version: 'TLSv1.2', commonName: 'Jane', signatureScheme: 'rsa_pss' }
    const options: ProxySendOptions = {
      source: { address: '::1', port: 1 },
      destination: { address: '10.0.0.1', port: 2 },
      crc32c: true,
      alpn: 'h2',
      authority: 'a.example',
      uniqueId: Buffer.from([1, 0, 2]),
      netns: 'blue',
      ssl,
      tlvs: [
        { type: 0xe1, value: '' },
        { type: 0xe2, value: Buffer.from([0]) },
      ],
    }
    const header = read(ProxyHeader.write(options))
    expect(header).toMatchObject({
      family: 'IPv6',
      source: { address: '::1', port: 1 },
      destination: { address: '::ffff:10.0.0.1', port: 2 },
      alpn: 'h2',
      authority: 'a.example',
      uniqueId: Buffer.from([1, 0, 2]),
      netns: 'blue',
      ssl,
    })
    expect(header.tlvs.map(({ type }) => type)).toEqual([0xe1, 0xe2, 3, 1, 2, 5, 0x20, 0x30])
    // What was received can be sent on as it is.
    expect(read(ProxyHeader.write({ ...options, ssl: header.ssl! })).ssl).toEqual(header.ssl)
  })

  it.each<[object, string]>([
    [{ version: 3 }, 'version'],
    [{ source: client }, 'destination'],
    [{ destination: server }, 'source'],
    [{ source: { address: 'example.com', port: 1 }, destination: server }, 'source'],
    [{ source: { address: 'fe80::1%lo', port: 1 }, destination: server }, 'source'],
    [{ source: { address: '1.2.3.4', port: 65_536 }, destination: server }, 'source'],
    [{ local: true, source: client, destination: server }, 'source'],
    [{ version: 1, alpn: 'h2' }, 'alpn'],
    [{ version: 1, crc32c: true }, 'crc32c'],
    [{ version: 1, tlvs: [] }, 'tlvs'],
    [{ alpn: true }, 'alpn'],
    [{ ssl: true }, 'ssl'],
    [{ ssl: ['cipher'] }, 'ssl'],
    [{ ssl: ['cypher'] }, 'ssl[0]'],
    [{ ssl: { client: 256 } }, 'ssl.client'],
    [{ ssl: { cypher: 'x' } }, 'ssl.cypher'],
    [{ authority: 'a'.repeat(256) }, 'authority'],
    [{ authority: '' }, 'authority'],
    [{ uniqueId: Buffer.alloc(129) }, 'uniqueId'],
    [{ uniqueId: 5 }, 'uniqueId'],
    [{ netns: 5 }, 'netns'],
    [{ tlvs: [{ type: 3, value: '' }] }, 'tlvs[0].type'],
    [{ tlvs: [{ type: 256, value: '' }] }, 'tlvs[0].type'],
    [{ tlvs: [{ type: 224 }] }, 'tlvs[0].value'],
    [{ tlvs: [{ type: 224, value: Buffer.alloc(65_536) }] }, 'tlvs[0].value'],
    [{ onBehalfOf: 'x' }, 'onBehalfOf'],
    [{ crc32: true }, 'crc32'],
  ])('refuses what no header can say, case %#, and names the option', (options, option) => {
    expect(refusal(() => ProxyHeader.write(options))).toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION', option })
  })

  it('refuses more than a header can hold', () => {
    const tlvs = [0, 1].map((i) => ({ type: 0xe0 + i, value: Buffer.alloc(40_000) }))
    expect(refusal(() => ProxyHeader.write({ tlvs }))).toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION' })
  })
})

describe('on behalf of a connection', () => {
  const runtime = new Runtime()
  afterAll(() => runtime.destroy())
  const authority = createCertificate({ commonName: 'An authority', isAuthority: true })
  const identity = createCertificate({ names: ['localhost'], keyType: 'RSA-2048', issuer: authority })
  const person = createCertificate({ names: ['jane'], commonName: 'Jane', issuer: authority })

  // What a server sends on about its client.
  async function sentFor(
    options: ProxySendOptions,
    tls: boolean,
  ): Promise<{ header: ProxyHeader; accepted: Connection }> {
    let opened = (_: Connection) => {}
    const first = new Promise<Connection>((resolve) => (opened = resolve))
    const listener = await runtime.listen(
      {
        host: '127.0.0.1',
        port: 0,
        ...(tls ? { tls: { ...identity, ca: authority.cert, clientCert: 'request' as const, alpn: ['h2'] } } : {}),
      },
      { open: (connection) => opened(connection) },
    )
    const clientTls = { ca: authority.cert, serverName: 'localhost', alpn: ['h2'], ...person }
    await runtime.connect({ host: '127.0.0.1', port: portOf(listener), ...(tls ? { tls: clientTls } : {}) }, {})
    const accepted = await first
    return { header: read(ProxyHeader.write({ onBehalfOf: accepted, ...options })), accepted }
  }

  it('says its addresses', async () => {
    const { header, accepted } = await sentFor({}, false)
    expect(header.source).toEqual({ address: '127.0.0.1', port: accepted.remotePort, family: 'IPv4' })
    expect(header.destination).toEqual({ address: '127.0.0.1', port: accepted.localPort, family: 'IPv4' })
    expect(header.replacesAddresses).toBe(true)
  })

  it('says of TLS what was asked for', async () => {
    const all = await sentFor(
      { alpn: true, authority: true, ssl: ['cert-cn', 'ssl-cipher', 'cert-sig', 'cert-key', 'group', 'certificate'] },
      true,
    )
    expect(all.header).toMatchObject({ alpn: 'h2', authority: 'localhost' })
    const raw = all.accepted.tls?.peerCertificate?.raw
    expect(all.header.ssl).toMatchObject({
      client: 7,
      verified: true,
      version: 'TLSv1.3',
      commonName: 'Jane',
      cipher: all.accepted.tls?.cipher,
      keyAlgorithm: 'RSA2048',
      group: all.accepted.tls?.group,
      certificate: raw,
    })
    expect(all.header.ssl?.certificateSignature).toMatch(/SHA256/)
    const few = await sentFor({ ssl: true }, true)
    expect(few.header.ssl).toMatchObject({
      client: 7,
      version: 'TLSv1.3',
      commonName: undefined,
      certificate: undefined,
    })
    expect(few.header.alpn).toBeUndefined()
  })

  it('says that there is no TLS where there is none', async () => {
    const { header } = await sentFor({ ssl: true, alpn: true, authority: true, uniqueId: true, netns: true }, false)
    expect(header.ssl).toMatchObject({ client: 0, encrypted: false, verified: false })
    expect(header.tlvs.map(({ type }) => type)).toEqual([0x20])
  })

  it('prefers the addresses given', async () => {
    const { header } = await sentFor({ source: client }, false)
    expect(header.source).toMatchObject(client)
    expect(header.destination).toMatchObject({ address: '127.0.0.1' })
  })
})
