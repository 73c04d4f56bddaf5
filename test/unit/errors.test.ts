import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { abortError, errorTable, formatEndpoint, nativeError, SluiceError, tlsError } from '../../src/errors.js'
import { nameOfReason } from '../../src/handshake/handshake-error.js'
import { handshakeErrors } from '../../src/handshake/handshake-errors.js'
import { messageErrors } from '../../src/message/message-errors.js'

const javaScriptOnly = [
  'INVALID_OPTION',
  'QUEUE_FULL',
  'UPSTREAM_CHECK_FAILED',
  'UPSTREAM_QUEUE_TIMEOUT',
  'UPSTREAM_QUEUE_FULL',
  'UPSTREAM_UNAVAILABLE',
  'FIN_TIMEOUT',
  'TUNNEL_TIMEOUT',
  'RELAYED',
  'WRITE_AFTER_END',
  'FILE_FAILED',
  'FILTER_FAILED',
  'FILTER_THREW',
  'FILTER_RESULT',
  'FILTER_EXPANSION',
  'FRAME_INVALID',
  'HANDLER_THREW',
  'STORE_UNREACHABLE',
  'PEERS_UNREACHABLE',
  'SNAPSHOT_INVALID',
  'RESOLVE_TIMEOUT',
  'PLAINTEXT_BEFORE_TLS',
  'ADDON_NOT_LOADED',
  'ETCD_FAILED',
]

describe('error table', () => {
  it('documents every native code and no other', () => {
    const header = readFileSync('native/base/error.h', 'utf8')
    const native = [...header.matchAll(/X\(\w+, "([A-Z_]+)"\)/g)]
      .map(([, name]) => name!)
      .filter((name) => name !== 'NONE')
    expect(native.length).toBeGreaterThan(20)
    const tlsHeader = readFileSync('native/tls/tls_error.h', 'utf8')
    const tls = [...tlsHeader.matchAll(/X\(\w+, "([A-Z_]+)"\)/g)]
      .map(([, name]) => `TLS_${name}`)
      .filter((name) => name !== 'TLS_NONE' && !native.includes(name))
    expect(tls.length).toBeGreaterThan(50)
    expect(Object.keys(errorTable).sort()).toEqual(
      [...native, ...tls, ...javaScriptOnly, ...Object.keys(handshakeErrors), ...Object.keys(messageErrors)].sort(),
    )
  })

  it('has a row for each way in which a handshake fails, and no other', () => {
    const header = readFileSync('native/handshake/opening_failure.h', 'utf8')
    const reasons = [...header.matchAll(/X\(\w+, "([A-Z0-9_]+)"/g)].map(([, reason]) => reason!)
    const failures = reasons.filter((reason) => reason !== 'NONE' && !reason.endsWith('_ANSWERED'))
    expect(failures.length).toBeGreaterThan(35)
    expect(Object.keys(nameOfReason).sort()).toEqual(failures.sort())
    expect([...new Set(Object.values(nameOfReason))].sort()).toEqual(Object.keys(handshakeErrors).sort())
  })

  it('says for each code what happened and what to do', () => {
    for (const { meaning, advice } of Object.values(errorTable)) {
      expect(meaning).toMatch(/^[a-z].*[^.]$/)
      expect(advice).toMatch(/^[A-Z`].*\.$/)
    }
  })
})

describe('the tables of README.md and of the pages in docs/', () => {
  it('have each code with its texts, in order', () => {
    const rowsOf = (file: string) =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line.startsWith('| `ERR_SLUICE_'))
    const rows = Object.entries(errorTable).map(
      ([name, { meaning, advice }]) => `| \`ERR_SLUICE_${name}\` | ${meaning} | ${advice} |`,
    )
    const isTls = (row: string) => row.startsWith('| `ERR_SLUICE_TLS_')
    const isHandshake = (row: string) =>
      Object.hasOwn(handshakeErrors, row.slice('| `ERR_SLUICE_'.length).split('`')[0]!)
    const isMessage = (row: string) => row.startsWith('| `ERR_SLUICE_MESSAGE_')
    expect(rowsOf('README.md')).toEqual(rows.filter((row) => !isTls(row) && !isHandshake(row) && !isMessage(row)))
    expect(rowsOf('docs/tls.md')).toEqual(rows.filter(isTls))
    expect(rowsOf('docs/handshake.md')).toEqual(rows.filter(isHandshake))
    expect(rowsOf('docs/messages.md')).toEqual(rows.filter(isMessage))
  })
})

describe('SluiceError', () => {
  const refused = nativeError({
    codeName: 'PERMISSION_DENIED',
    errno: constants.errno.EACCES,
    syscall: 'bind',
    address: '127.0.0.1',
    port: 80,
    phase: 'listen',
  })

  it('tells in one sentence what was done, where, and why it failed', () => {
    expect(refused.message).toBe('listen 127.0.0.1:80: permission denied (EACCES in bind)')
    expect(refused).toMatchObject({
      code: 'ERR_SLUICE_PERMISSION_DENIED',
      errno: constants.errno.EACCES,
      syscall: 'bind',
      address: '127.0.0.1',
      port: 80,
      phase: 'listen',
    })
    expect(refused).toBeInstanceOf(Error)
  })

  it('has no properties for what is not known', () => {
    const error = nativeError({ codeName: 'CLOSED', errno: 0, syscall: '' })
    expect(error.message).toBe('already closed')
    expect(Object.keys(error)).toEqual(['code'])
    expect('cause' in error).toBe(false)
  })

  it('keeps errno and syscall of a failure that has no code of its own', () => {
    const error = nativeError({ codeName: 'NOBODY_KNOWS', errno: constants.errno.EXDEV, syscall: 'bind' })
    expect(error.code).toBe('ERR_SLUICE_SYSTEM')
    expect(error.message).toBe('the system refused (EXDEV in bind)')
  })

  it('names a Unix path without a port', () => {
    const facts = { codeName: 'ADDRESS_IN_USE', errno: constants.errno.EADDRINUSE, syscall: 'bind', port: 0 } as const
    const error = nativeError({ ...facts, address: '/run/x.sock', phase: 'listen' })
    expect(error.message).toBe('listen /run/x.sock: address already in use (EADDRINUSE in bind)')
    expect('port' in error).toBe(false)
  })

  it('survives JSON with all that is known, causes included', () => {
    const cause = Object.assign(new TypeError('no'), { code: 'X' })
    const error = new SluiceError('HANDLER_THREW', { phase: 'handler', cause, errors: [refused] })
    expect(JSON.parse(JSON.stringify(error))).toEqual({
      name: 'SluiceError',
      message: 'handler: a handler threw',
      code: 'ERR_SLUICE_HANDLER_THREW',
      phase: 'handler',
      errors: [JSON.parse(JSON.stringify(refused))],
      cause: { name: 'TypeError', message: 'no', code: 'X' },
    })
    expect(JSON.parse(JSON.stringify(new SluiceError('ABORTED', { cause: 1n }))).cause).toBe('1')
  })

  it('prints under its own name', () => {
    expect(inspect(refused)).toMatch(/^SluiceError: listen 127/)
  })

  it('carries the reason of an aborted signal as its cause', () => {
    const reason = { why: 'enough' }
    expect(abortError(AbortSignal.abort(reason), { phase: 'connect' })).toMatchObject({
      code: 'ERR_SLUICE_ABORTED',
      phase: 'connect',
      cause: reason,
    })
  })
})

describe('tlsError', () => {
  const unknown = { reason: '', option: '', text: '', libraryCode: 0, verifyCode: 0, alert: -1 }

  it('tells what OpenSSL said behind what it means', () => {
    const failure = {
      ...unknown,
      failure: 'CERTIFICATE_EXPIRED',
      stage: 'handshake',
      text: 'expired',
      verifyCode: 10,
    } as const
    const error = tlsError(failure, { address: '127.0.0.1', port: 443 })
    expect(error.message).toBe('handshake 127.0.0.1:443: a certificate of the peer has expired (expired)')
    expect(error).toMatchObject({ code: 'ERR_SLUICE_TLS_CERTIFICATE_EXPIRED', phase: 'handshake', verifyCode: 10 })
    expect('alert' in error || 'reason' in error || 'option' in error || 'libraryCode' in error).toBe(false)
  })

  it('says nothing twice', () => {
    const text = 'the key is not that of the certificate (key values mismatch)'
    const error = tlsError(
      { ...unknown, failure: 'KEY_MISMATCH', stage: 'options', option: 'keys[0].key', text },
      { option: 'tls.key' },
    )
    expect(error.message).toBe(`option "tls.key": ${text}`)
    expect(error).toMatchObject({ option: 'tls.key', phase: 'options' })
  })

  it('keeps alert 0, close_notify, and the reason', () => {
    const error = tlsError({
      ...unknown,
      failure: 'PEER_ALERT',
      stage: 'read',
      alert: 0,
      reason: 'SSL_FATAL',
      libraryCode: 7,
    })
    expect(error).toMatchObject({
      code: 'ERR_SLUICE_TLS_PEER_ALERT',
      alert: 0,
      reason: 'SSL_FATAL',
      libraryCode: 7,
      phase: 'read',
    })
    expect(JSON.parse(JSON.stringify(error))).toMatchObject({ alert: 0, reason: 'SSL_FATAL' })
  })

  it('knows what it does not know as TLS_FATAL', () => {
    expect(tlsError({ ...unknown, failure: 'NOBODY_KNOWS', stage: 'write' }).code).toBe('ERR_SLUICE_TLS_FATAL')
  })
})

describe('formatEndpoint', () => {
  it.each([
    ['127.0.0.1', 80, '127.0.0.1:80'],
    ['::1', 80, '[::1]:80'],
    ['/tmp/a:b', undefined, '/tmp/a:b'],
    ['\0name', undefined, '@name'],
  ])('writes %j and %j as %s', (address, port, text) => {
    expect(formatEndpoint(address, port)).toBe(text)
  })
})
