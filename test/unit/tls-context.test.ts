// Options of TLS and what is made of them: everything that needs no connection.
import { X509Certificate } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  createCertificate,
  createCrl,
  createSelfSigned,
  parseCertificate,
  type SluiceError,
  TlsContext,
  TlsSessions,
  TlsTicketKeys,
  tlsFeatures,
} from 'sluice'
import { describe, expect, it } from 'vitest'
import { encryptedKey, pfxOf } from '../support/tls-files.js'

const ec = createCertificate({ names: ['localhost'] })
const rsa = createCertificate({ names: ['localhost'], keyType: 'RSA-2048' })
const ed = createCertificate({ names: ['localhost'], keyType: 'Ed25519' })
const other = createCertificate({ names: ['localhost'] })

function refusal(action: () => unknown): SluiceError {
  try {
    action()
  } catch (error) {
    return error as SluiceError
  }
  throw new Error('nothing was refused')
}

type Case = [what: string, options: object, code: string, option: string, text: RegExp]

describe('TlsContext.server', () => {
  const invalid = 'ERR_SLUICE_INVALID_OPTION'
  it.each<[string, object]>([
    ['one certificate', { ...ec }],
    ['bytes', { cert: Buffer.from(ec.cert), key: Buffer.from(ec.key) }],
    ['DER', { cert: new X509Certificate(ec.cert).raw, key: ec.key }],
    ['several key types', { cert: [rsa.cert, ec.cert, ed.cert], key: [rsa.key, ec.key, ed.key] }],
    ['certificate and key in one text', { cert: ec.cert + ec.key }],
    ['an encrypted key', { cert: ec.cert, key: encryptedKey(ec.key, 'open'), passphrase: 'open' }],
    [
      'a key with a passphrase of its own',
      { cert: ec.cert, key: { pem: encryptedKey(ec.key, 'open'), passphrase: 'open' } },
    ],
    ['PKCS#12', { pfx: pfxOf(ec, 'open'), passphrase: 'open' }],
    ['PKCS#12 with a passphrase of its own', { pfx: [{ buf: pfxOf(ec, 'open'), passphrase: 'open' }] }],
    ['a pre-shared key alone', { psk: { identity: 'me', key: Buffer.alloc(32, 7) } }],
    ['nothing but names', { sni: { 'a.example': ec }, sniStrict: true }],
    ['ciphers and groups as lists', { ...ec, cipherSuites: ['TLS_AES_128_GCM_SHA256'], groups: ['X25519', 'P-256'] }],
    ['the names of node:tls', { ...ec, ecdhCurve: 'P-256', ALPNProtocols: ['h2'], requestCert: true, ca: ec.cert }],
    ['old versions, where it is asked for', { ...ec, minVersion: 'TLSv1', securityLevel: 0 }],
    ['the largest chain of protocols', { ...ec, alpn: ['x'.repeat(255)] }],
  ])('takes %s', (_, options) => {
    expect(TlsContext.server(options).role).toBe('server')
  })

  it.each<Case>([
    ['nobody', {}, invalid, 'cert', /expected "cert" and "key", "pfx" or "psk"/],
    ['a certificate without its key', { cert: ec.cert }, invalid, 'key', /"cert" needs its key/],
    ['a key without its certificate', { key: ec.key }, invalid, 'cert', /expected "cert"/],
    [
      'more keys than certificates',
      { cert: ec.cert, key: [ec.key, rsa.key] },
      invalid,
      'key',
      /as many as in "cert", 1, not 2/,
    ],
    [
      'another key',
      { cert: ec.cert, key: other.key },
      'ERR_SLUICE_TLS_KEY_MISMATCH',
      'key',
      /not that of the certificate/,
    ],
    [
      'a second one that is wrong',
      { cert: [rsa.cert, ec.cert], key: [rsa.key, other.key] },
      'ERR_SLUICE_TLS_KEY_MISMATCH',
      'key[1]',
      /key\[1\]/,
    ],
    [
      'two of one type',
      { cert: [ec.cert, other.cert], key: [ec.key, other.key] },
      'ERR_SLUICE_TLS_INVALID_OPTION',
      'cert[1]',
      /same type/,
    ],
    ['no certificate', { cert: 'hello', key: ec.key }, 'ERR_SLUICE_TLS_BAD_CERTIFICATE_DATA', 'cert', /no certificate/],
    ['no key', { cert: ec.cert, key: 'hello' }, 'ERR_SLUICE_TLS_BAD_KEY_DATA', 'key', /no private key/],
    [
      'a damaged certificate',
      { cert: ec.cert.replace('M', '?'), key: ec.key },
      'ERR_SLUICE_TLS_BAD_CERTIFICATE_DATA',
      'cert',
      /./,
    ],
    [
      'a missing passphrase',
      { cert: ec.cert, key: encryptedKey(ec.key, 'open') },
      'ERR_SLUICE_TLS_PASSPHRASE_MISSING',
      'passphrase',
      /encrypted/,
    ],
    [
      'a wrong passphrase',
      { cert: ec.cert, key: { pem: encryptedKey(ec.key, 'open'), passphrase: 'shut' } },
      'ERR_SLUICE_TLS_PASSPHRASE_WRONG',
      'key.passphrase',
      /passphrase/,
    ],
    [
      'a wrong passphrase of PKCS#12',
      { pfx: pfxOf(ec, 'open'), passphrase: 'shut' },
      'ERR_SLUICE_TLS_PASSPHRASE_WRONG',
      'passphrase',
      /passphrase/,
    ],
    ['no PKCS#12', { pfx: Buffer.from('hello') }, 'ERR_SLUICE_TLS_BAD_PFX_DATA', 'pfx', /PKCS#12/],
    ['an empty buffer', { cert: Buffer.alloc(0), key: ec.key }, invalid, 'cert', /must be PEM/],
    ['a number as certificate', { cert: 7, key: ec.key }, invalid, 'cert', /must be PEM/],
    [
      'a field too many beside a key',
      { cert: ec.cert, key: { pem: ec.key, passphras: 'x' } },
      invalid,
      'key.passphras',
      /did you mean "passphrase"/,
    ],
    ['no authority', { ...ec, ca: 'hello' }, 'ERR_SLUICE_TLS_BAD_CA_DATA', 'ca', /./],
    ['no revocation list', { ...ec, crl: ['hello'] }, 'ERR_SLUICE_TLS_BAD_CRL_DATA', 'crl[0]', /./],
    ['an unknown cipher', { ...ec, ciphers: 'ROT13' }, 'ERR_SLUICE_TLS_UNKNOWN_CIPHER', 'ciphers', /ROT13/],
    [
      'an unknown suite',
      { ...ec, ciphersuites: 'TLS_ROT13' },
      'ERR_SLUICE_TLS_UNKNOWN_CIPHER',
      'ciphersuites',
      /TLS_ROT13/,
    ],
    ['an unknown group', { ...ec, groups: ['X25519', 'X26'] }, 'ERR_SLUICE_TLS_UNKNOWN_GROUP', 'groups', /X26/],
    ['an unknown curve', { ...ec, ecdhCurve: 'X26' }, 'ERR_SLUICE_TLS_UNKNOWN_GROUP', 'ecdhCurve', /X26/],
    [
      'an unknown signature algorithm',
      { ...ec, sigalgs: 'ROT13' },
      'ERR_SLUICE_TLS_UNKNOWN_SIGNATURE_ALGORITHM',
      'sigalgs',
      /ROT13/,
    ],
    [
      'versions upside down',
      { ...ec, minVersion: 'TLSv1.3', maxVersion: 'TLSv1.2' },
      'ERR_SLUICE_TLS_BAD_VERSION_RANGE',
      'minVersion',
      /above/,
    ],
    [
      'an old version by itself',
      { ...ec, minVersion: 'TLSv1' },
      'ERR_SLUICE_TLS_BAD_VERSION_RANGE',
      'minVersion',
      /securityLevel/,
    ],
    ['an unknown version', { ...ec, minVersion: 'TLSv1.4' }, invalid, 'minVersion', /did you mean/],
    [
      'two names of one option',
      { ...ec, groups: 'P-256', ecdhCurve: 'P-256' },
      invalid,
      'ecdhCurve',
      /together with "groups"/,
    ],
    [
      'clientCert and requestCert',
      { ...ec, clientCert: 'none', requestCert: false },
      invalid,
      'requestCert',
      /together/,
    ],
    [
      'certificates of clients that nobody can verify',
      { ...ec, clientCert: 'require' },
      invalid,
      'ca',
      /"ca" or "trust"/,
    ],
    ['a protocol that is empty', { ...ec, alpn: ['h2', ''] }, invalid, 'alpn[1]', /1 to 255/],
    ['a protocol that is too long', { ...ec, alpn: ['x'.repeat(256)] }, invalid, 'alpn[0]', /1 to 255/],
    ['ticket keys of another size', { ...ec, ticketKeys: Buffer.alloc(47) }, invalid, 'ticketKeys', /48 or 80 bytes/],
    [
      'ticket keys of one name',
      { ...ec, ticketKeys: [Buffer.alloc(48), Buffer.alloc(48)] },
      'ERR_SLUICE_TLS_BAD_TICKET_KEY',
      'ticketKeys',
      /./,
    ],
    ['an identity without key', { psk: { identity: 'me' } }, invalid, 'psk.key', /is missing/],
    ['a name of no context', { ...ec, sni: { 'a.example': 7 } }, invalid, 'sni["a.example"]', /options of TLS/],
    [
      'a name with wrong options',
      { ...ec, sni: { 'a.example': { cert: ec.cert, key: 'x' } } },
      'ERR_SLUICE_TLS_BAD_KEY_DATA',
      'sni["a.example"].key',
      /./,
    ],
    [
      'a name that is none',
      { ...ec, sni: { 'a.example': ec, 'a.*.b': ec } },
      'ERR_SLUICE_TLS_INVALID_OPTION',
      'sni["a.*.b"]',
      /./,
    ],
    [
      'a context of clients under a name',
      { ...ec, sni: { 'a.example': TlsContext.client({ ca: ec.cert }) } },
      invalid,
      'sni["a.example"]',
      /of servers/,
    ],
    ['strictness without names', { ...ec, sniStrict: true }, invalid, 'sniStrict', /without "sni"/],
    ['an option of clients', { ...ec, servername: 'a' }, invalid, 'servername', /is unknown/],
    [
      'a mistyped option',
      { ...ec, honourCipherOrder: true },
      invalid,
      'honourCipherOrder',
      /did you mean "honorCipherOrder"/,
    ],
    ['a context', { context: TlsContext.server(ec) }, invalid, 'context', /absent/],
  ])('refuses %s', (_, options, code, option, text) => {
    const error = refusal(() => TlsContext.server(options))
    expect({ code: error.code, option: error.option, phase: error.phase }).toEqual({ code, option, phase: 'options' })
    expect(error.message).toMatch(text)
    expect(error.message).toContain(option)
  })

  it.each([undefined, null, 7, 'x', []])('refuses %j in place of options', (value) => {
    expect(refusal(() => TlsContext.server(value as never)).code).toBe(invalid)
  })
})

describe('TlsContext.client', () => {
  it('takes no options at all, and trusts whom Node trusts', () => {
    expect(TlsContext.client().role).toBe('client')
  })

  it.each<Case>([
    ['an option of servers', { sni: {} }, 'ERR_SLUICE_INVALID_OPTION', 'sni', /is unknown/],
    ['sessions of another kind', { sessions: {} }, 'ERR_SLUICE_INVALID_OPTION', 'sessions', /TlsSessions/],
    ['a name with a port', { serverName: 'a:1' }, 'ERR_SLUICE_INVALID_OPTION', 'serverName', /DNS name/],
    ['an unknown store', { trust: 'windows' }, 'ERR_SLUICE_INVALID_OPTION', 'trust', /"node", "system"/],
  ])('refuses %s', (_, options, code, option, text) => {
    const error = refusal(() => TlsContext.client(options))
    expect({ code: error.code, option: error.option }).toEqual({ code, option })
    expect(error.message).toMatch(text)
  })
})

describe('TlsContext.reload', () => {
  it('keeps what is left out', () => {
    const context = TlsContext.server({ ...ec, alpn: ['h2'] })
    context.reload({ cert: rsa.cert, key: rsa.key })
    context.reload()
    expect(refusal(() => context.reload({ key: ec.key })).code).toBe('ERR_SLUICE_TLS_KEY_MISMATCH')
  })

  it('changes nothing when it throws', () => {
    const context = TlsContext.server(ec)
    expect(refusal(() => context.reload({ cert: 'no' })).option).toBe('cert')
    context.reload({ alpn: ['still works'] })
  })

  it('takes an option by its other name in place of the first', () => {
    const context = TlsContext.server({ ...ec, groups: 'P-256' })
    context.reload({ ecdhCurve: 'P-384' })
    context.reload({ groups: 'X25519' })
    expect(refusal(() => context.reload({ groups: 'P-256', ecdhCurve: 'P-256' })).option).toBe('ecdhCurve')
  })

  it('keeps ticket keys unless others are given', () => {
    const context = TlsContext.server({ ...ec, ticketKeys: Buffer.alloc(48, 1) })
    context.ticketKeys!.rotate()
    const { keys } = context.ticketKeys!
    context.reload({ alpn: ['x'] })
    expect(context.ticketKeys!.keys).toEqual(keys)
    context.reload({ ticketKeys: Buffer.alloc(80, 2) })
    expect(context.ticketKeys!.keys).toEqual([Buffer.alloc(80, 2)])
  })
})

describe('TlsContext.serverNames', () => {
  it('refuses names that nobody can ask for, and the context itself', () => {
    const context = TlsContext.server(ec)
    expect(refusal(() => context.serverNames({ 'a.example': context })).option).toBe('sni["a.example"]')
    expect(refusal(() => context.serverNames({ '**': ec })).option).toBe('sni["**"]')
    context.serverNames({ 'a.example': ec, '*.a.example': rsa, '!b.a.example': rsa }, { strict: true })
  })

  it('is not for clients', () => {
    expect(refusal(() => TlsContext.client({ ca: ec.cert }).serverNames({})).code).toBe('ERR_SLUICE_INVALID_OPTION')
  })
})

describe('TlsTicketKeys', () => {
  it('has a random key by itself', () => {
    const [one, two] = [new TlsTicketKeys(), new TlsTicketKeys()]
    expect(one.keys).toHaveLength(1)
    expect(one.keys).not.toEqual(two.keys)
    expect(one.encryptIndex).toBe(0)
  })

  it('keeps old keys when it rotates, and forgets the oldest', () => {
    const keys = new TlsTicketKeys()
    const made = [keys.keys[0]!, keys.rotate(), keys.rotate(), keys.rotate()]
    expect(keys.keys).toEqual(made.slice(1))
    expect(keys.encryptIndex).toBe(2)
    keys.rotate({ keep: 0 })
    expect(keys.keys).toHaveLength(1)
  })

  it('encrypts with the last but one of three, unless told otherwise', () => {
    const list = [1, 2, 3].map((fill) => Buffer.alloc(48, fill))
    const keys = new TlsTicketKeys({ keys: list })
    expect(keys.encryptIndex).toBe(1)
    keys.set(list, { encryptIndex: 2 })
    expect(keys.encryptIndex).toBe(2)
    expect(refusal(() => keys.set(list, { encryptIndex: 3 })).code).toBe('ERR_SLUICE_TLS_BAD_TICKET_KEY')
    expect(keys.keys).toEqual(list)
  })

  it('is shared by its number for as long as somebody has it', () => {
    const keys = new TlsTicketKeys()
    const same = TlsTicketKeys.from(keys.share())
    expect(same.share()).toBe(keys.share())
    const made = same.rotate()
    expect(keys.keys.at(-1)).toEqual(made)
    expect(refusal(() => TlsTicketKeys.from(4_000_000_000)).message).toMatch(/somebody still has/)
  })

  it('rotates by its timer, until it is stopped', async () => {
    const keys = new TlsTicketKeys({ rotateEveryMs: 1, keep: 1 })
    const [first] = keys.keys
    while (keys.keys.at(-1)!.equals(first!)) await new Promise((resolve) => setTimeout(resolve, 1))
    keys.stop()
    expect(keys.keys).toHaveLength(2)
  })

  it.each<[object, string]>([
    [{ keys: [] }, 'keys'],
    [{ keys: [Buffer.alloc(48), Buffer.alloc(10)] }, 'keys[1]'],
    [{ encryptIndex: 0 }, 'encryptIndex'],
    [{ rotateEveryMs: 0 }, 'rotateEveryMs'],
    [{ keep: 16 }, 'keep'],
  ])('refuses %j', (options, option) => {
    expect(refusal(() => new TlsTicketKeys(options))).toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION', option })
  })
})

describe('TlsSessions', () => {
  it('begins empty, and is cleared', () => {
    const sessions = new TlsSessions({ maxKeys: 2 })
    expect(sessions.size).toBe(0)
    sessions.clear()
    expect(refusal(() => new TlsSessions({ maxKeys: 0 })).option).toBe('maxKeys')
  })
})

describe('createSelfSigned', () => {
  it('is for localhost, and readable by Node', () => {
    const made = createSelfSigned()
    const read = new X509Certificate(made.cert)
    expect(read.subjectAltName).toBe('DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1')
    expect(read.fingerprint256).toBe(made.fingerprint256)
    expect(read.verify(read.publicKey)).toBe(true)
    expect(Object.keys(made)).toEqual(['cert', 'key'])
  })

  it.each<[object, string]>([
    [{ names: [] }, 'names'],
    [{ names: [''] }, 'names[0]'],
    [{ keyType: 'P-257' }, 'keyType'],
    [{ days: 1e9 }, 'days'],
  ])('refuses %j', (options, option) => {
    expect(refusal(() => createSelfSigned(options))).toMatchObject({ code: 'ERR_SLUICE_INVALID_OPTION', option })
  })
})

describe('createCertificate', () => {
  it('signs by an authority', () => {
    const authority = createCertificate({ commonName: 'Authority', isAuthority: true })
    const made = createCertificate({
      names: ['*.example.com', '10.0.0.1'],
      issuer: authority,
      purpose: 'serverAuth',
      days: 7,
    })
    const [above, below] = [new X509Certificate(authority.cert), new X509Certificate(made.cert)]
    expect(below.checkIssued(above)).toBe(true)
    expect(below.verify(above.publicKey)).toBe(true)
    expect(parseCertificate(made.cert)).toMatchObject({
      ...{
        issuer: 'CN=Authority',
        commonName: '*.example.com',
        dnsNames: ['*.example.com'],
        ipAddresses: ['10.0.0.1'],
      },
      ...{ keyType: 'EC', keyBits: 256, isAuthority: false, subjectaltname: 'DNS:*.example.com, IP Address:10.0.0.1' },
    })
    expect(parseCertificate(authority.cert).isAuthority).toBe(true)
    const { validFrom, validTo } = parseCertificate(made.cert)
    expect(validTo.getTime() - validFrom.getTime()).toBe(7 * 86_400_000)
  })

  it('refuses an issuer whose key is another', () => {
    const authority = createCertificate({ commonName: 'Authority', isAuthority: true })
    const wrong = { cert: authority.cert, key: ec.key }
    expect(refusal(() => createCertificate({ names: ['a'], issuer: wrong })).code).toBe('ERR_SLUICE_TLS_KEY_MISMATCH')
    expect(refusal(() => createCertificate({})).option).toBe('names')
  })

  it('makes revocation lists', () => {
    const authority = createCertificate({ commonName: 'Authority', isAuthority: true })
    const made = createCertificate({ names: ['a.example'], issuer: authority })
    expect(createCrl({ authority, revoked: made.cert })).toMatch(/^-----BEGIN X509 CRL-----/)
    expect(refusal(() => createCrl({ authority, revoked: 'x' })).code).toBe('ERR_SLUICE_TLS_BAD_CERTIFICATE_DATA')
  })
})

describe('parseCertificate', () => {
  it('agrees with Node', () => {
    for (const { cert } of [ec, rsa, ed]) {
      const [ours, theirs] = [parseCertificate(cert), new X509Certificate(cert)]
      expect(ours.serialNumber).toBe(theirs.serialNumber)
      expect(ours.fingerprint).toBe(theirs.fingerprint)
      expect(ours.fingerprint512).toBe(theirs.fingerprint512)
      expect(ours.validTo).toEqual(new Date(theirs.validTo))
      expect(ours.raw.equals(theirs.raw)).toBe(true)
      expect(parseCertificate(theirs.raw)).toEqual(ours)
    }
  })

  it('refuses what is none', () => {
    expect(refusal(() => parseCertificate('x'))).toMatchObject({
      ...{ code: 'ERR_SLUICE_TLS_BAD_CERTIFICATE_DATA', option: 'certificate' },
    })
  })
})

describe('keylog', () => {
  it('opens the file of the environment only when asked', () => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-keylog-'))
    const before = process.env.SSLKEYLOGFILE
    try {
      process.env.SSLKEYLOGFILE = join(folder, 'keys')
      TlsContext.server(ec)
      TlsContext.server({ ...ec, keylog: false })
      expect(existsSync(process.env.SSLKEYLOGFILE)).toBe(false)
      TlsContext.server({ ...ec, keylog: 'SSLKEYLOGFILE' })
      expect(readFileSync(process.env.SSLKEYLOGFILE, 'utf8')).toBe('')
      process.env.SSLKEYLOGFILE = join(folder, 'no', 'such', 'folder')
      const error = refusal(() => TlsContext.server({ ...ec, keylog: true }))
      expect(error).toMatchObject({ code: 'ERR_SLUICE_TLS_INVALID_OPTION', option: 'keylog' })
      expect(error.message).toMatch(/cannot be written: No such file/)
    } finally {
      if (before === undefined) delete process.env.SSLKEYLOGFILE
      else process.env.SSLKEYLOGFILE = before
      rmSync(folder, { recursive: true })
    }
  })
})

describe('tlsFeatures', () => {
  it('names the OpenSSL of the process', () => {
    expect(tlsFeatures().version).toContain(`OpenSSL ${process.versions.openssl.split('+')[0]}`)
  })
})
