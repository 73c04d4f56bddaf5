import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parse } from '../../src/options.js'
import {
  encodeSocketOptions,
  type SocketOptions,
  socketOptionChanges,
  socketOptions,
} from '../../src/socket-options.js'

const all: Required<SocketOptions> = {
  noDelay: false,
  keepAlive: true,
  keepAliveIdleMs: 1000,
  keepAliveIntervalMs: 2000,
  keepAliveCount: 3,
  userTimeoutMs: 4000,
  quickAck: true,
  fastOpen: true,
  notSentLowWaterBytes: 5,
  sendBufferBytes: 6,
  receiveBufferBytes: 7,
  typeOfService: 8,
  mark: 9,
  congestionControl: 'cubic',
  hopLimit: 10,
  maxSegmentBytes: 1000,
  deferAcceptMs: 5000,
  device: 'lo',
  transparent: true,
}

function nativeNames(): string[] {
  const header = readFileSync('native/engine/socket_option.h', 'utf8')
  const body = header.slice(header.indexOf('enum class SocketOption'), header.indexOf('};'))
  return [...body.matchAll(/^ {2}(\w+),/gm)].map(([, name]) => name!)
}

describe('socket options', () => {
  it('have the numbers of the native list, one for each', () => {
    const names = nativeNames()
    expect(Object.keys(all).sort()).toEqual([...names].sort())
    for (const [name, value] of Object.entries(all)) {
      const [id] = encodeSocketOptions({ [name]: value }, 'listener')[0]!
      expect([name, names[id]]).toEqual([name, name])
    }
  })

  it('turn Nagle off by default, but change nothing unasked later', () => {
    expect(encodeSocketOptions(parse(socketOptions, {}), 'connection')).toEqual([[0, 1]])
    expect(encodeSocketOptions(parse(socketOptionChanges, {}), 'connection')).toEqual([])
  })

  it('encode booleans as 0 and 1, and the rest as it is', () => {
    const encoded = encodeSocketOptions(parse(socketOptions, all), 'connection')
    expect(encoded.map(([, value]) => value)).toEqual([
      0,
      1,
      1000,
      2000,
      3,
      4000,
      1,
      1,
      5,
      6,
      7,
      8,
      9,
      'cubic',
      10,
      1000,
      5000,
      'lo',
      1,
    ])
  })

  it('give fast open a queue on a listener and a switch on a connection', () => {
    const value = (fastOpen: boolean | number, role: 'listener' | 'connection') =>
      encodeSocketOptions({ fastOpen }, role)[0]![1]
    expect([value(true, 'listener'), value(64, 'listener'), value(false, 'listener')]).toEqual([256, 64, 0])
    expect([value(true, 'connection'), value(64, 'connection'), value(false, 'connection')]).toEqual([1, 1, 0])
  })

  it.each([
    { keepAliveIdleMs: 0 },
    { keepAliveCount: 128 },
    { typeOfService: 256 },
    { sendBufferBytes: 2 ** 31 },
    { congestionControl: 'a'.repeat(16) },
    { mark: -1 },
    { fastOpen: -1 },
    { noDelay: 1 },
  ])('refuse %j', (input) => {
    expect(() => parse(socketOptions, input)).toThrow(expect.objectContaining({ option: Object.keys(input)[0] }))
  })
})
