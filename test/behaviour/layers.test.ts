// Filters, files and marks over what lies below them: TLS, rate limits, pairs, and each other.
import { mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Connection, type ConnectionOptions, FileSegment, gzip, RateLimit, type Runtime } from 'sluice'
import { afterAll, describe, expect, it } from 'vitest'
import { blocks, frames, hex, scramble, slowBothWays, trailer } from '../support/filters.js'
import * as id from '../support/identities.js'
import { modes } from '../support/modes.js'
import { connectedPair, eventually, type PairOptions, portOf } from '../support/pair.js'
import { hashOf, pattern, Record } from '../support/record.js'

const folder = mkdtempSync(join(tmpdir(), 'sluice-layers-'))
afterAll(() => rmSync(folder, { recursive: true }))
const content = pattern(2_000_000, 3)
const path = join(folder, 'content')
writeFileSync(path, content)

const filters = () => [gzip(), scramble(3), slowBothWays(), frames(), trailer()]
const both = (options: ConnectionOptions): PairOptions => ({ listen: options, connect: options })

/** Both ends of a pair, with notes of what happens at the second. */
function inMemory(runtime: Runtime, options: ConnectionOptions = {}) {
  const record = new Record()
  const [first, second] = runtime.pair(options as never, { error() {} }, record.handlers)
  return { first, second, record }
}

describe.each(modes())('what is stacked on $name', (mode) => {
  it('filters over TLS carry every byte and the end', async () => {
    const { listen, connect } = id.secured()
    await using pair = await connectedPair(mode, { listen: { ...listen, filters }, connect: { ...connect, filters } })
    pair.client.write(content)
    pair.server.write(content)
    pair.client.end('end')
    await pair.atServer.saw('end')
    await pair.atClient.saw('end')
    expect(pair.atServer.hash).toBe(hashOf(content, Buffer.from('end')))
    expect(pair.atClient.hash).toBe(hashOf(content))
  })

  it('filters that were there before TLS come above it', async () => {
    await using pair = await connectedPair(mode, both({ filters: () => [hex(), frames()] }))
    pair.client.write('before')
    await pair.atServer.received(6)
    await Promise.all([pair.server.startTls(id.serving), pair.client.startTls(id.trusting)])
    pair.client.write(' and after')
    await pair.client.flush()
    await pair.atServer.received(16)
    expect(pair.atServer.text).toBe('before and after')
  })

  it('files over TLS arrive whole, and end writing where they are too short', async () => {
    const { listen, connect } = id.secured()
    await using pair = await connectedPair(mode, { listen: { ...listen, allowHalfOpen: true }, connect })
    using file = await FileSegment.open(path)
    pair.client.write('head')
    pair.client.writeFile(file)
    pair.client.write('tail')
    await pair.atServer.received(content.length + 8)
    expect(pair.atServer.hash).toBe(hashOf(Buffer.from('head'), content, Buffer.from('tail')))
    const short = join(folder, `short ${mode.name}`)
    writeFileSync(short, pattern(1000))
    using cut = await FileSegment.of(openSync(short, 'r'), { closeFile: true })
    truncateSync(short, 600)
    pair.client.writeFile(cut)
    await pair.atClient.saw('error ERR_SLUICE_FILE_FAILED')
    await pair.atServer.saw('end')
  })

  it('files obey a rate limit, cut into what it allows', async () => {
    const rateLimit = new RateLimit({ writeBytesPerTick: 50_000, tickMs: 10 })
    await using pair = await connectedPair(mode, { connect: { rateLimit } })
    using file = await FileSegment.open(path)
    const start = pair.runtime.nowMs()
    pair.client.writeFile(file, { lengthBytes: 1_000_000 })
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(content.subarray(0, 1_000_000)))
    // 50 000 bytes in each of 20 ticks of 10 ms, the first of which may be had at once and the second any time after.
    expect(pair.runtime.nowMs() - start).toBeGreaterThan(150)
  })

  it('a limit that is never reached holds nothing back, under TLS neither', async () => {
    const { listen, connect } = id.secured()
    const rateLimit = RateLimit.bytesPerSecond('1 TB')
    await using pair = await connectedPair(mode, {
      listen: { ...listen, rateLimit },
      connect: { ...connect, rateLimit },
    })
    pair.client.write(content)
    pair.server.write(content)
    await Promise.all([pair.atServer.received(content.length), pair.atClient.received(content.length)])
    expect(pair.atServer.hash).toBe(hashOf(content))
    expect(pair.atClient.hash).toBe(hashOf(content))
  })

  it('filters and files over pairs do as over sockets', async () => {
    await using runtime = mode.start()
    {
      const { first, record } = inMemory(runtime, { filters } as never)
      using file = await FileSegment.open(path)
      first.write('head')
      first.writeFile(file)
      first.end('tail')
      await record.closed()
      expect(record.hash).toBe(hashOf(Buffer.from('head'), content, Buffer.from('tail')))
      expect(record.events).toEqual(['data', 'end', 'close'])
    }
    {
      const { first, record } = inMemory(runtime)
      using file = await FileSegment.open(path)
      first.writeFile(file)
      first.write('tail')
      await first.close()
      await record.closed()
      expect(record.hash).toBe(hashOf(content, Buffer.from('tail')))
    }
  })

  it('closing with filters over a rate limit leaves the limit in force', async () => {
    const rateLimit = new RateLimit({ readBytesPerTick: 10_000, tickMs: 10 })
    await using pair = await connectedPair(mode, {
      listen: { rateLimit, filters: () => [slowBothWays()] },
      client: { error() {} },
    })
    pair.client.write(pattern(400_000))
    await pair.atServer.received(10_000)
    const closed = pair.server.close()
    await closed
    expect(pair.server.state).toBe('closed')
  })

  it('marks hold over TLS and filters', async () => {
    const { listen, connect } = id.secured()
    await using runtime = mode.start()
    const sizes: number[] = []
    const got: Buffer[] = []
    let server: Connection | undefined
    const listener = await runtime.listen(
      {
        host: '127.0.0.1',
        port: 0,
        ...listen,
        readLowWaterBytes: 100,
        readHighWaterBytes: 5000,
        filters: () => [blocks()],
      },
      {
        readable(connection, input) {
          server = connection
          sizes.push(input.sizeBytes)
          got.push(input.read(Math.ceil(input.sizeBytes / 2)))
        },
      },
    )
    const client = await runtime.connect(
      { host: '127.0.0.1', port: portOf(listener), ...connect, filters: () => [blocks()] },
      {},
    )
    client.write(content.subarray(0, 300_000))
    await client.flush()
    await eventually(() => got.reduce((sum, { length }) => sum + length, server?.input.sizeBytes ?? 0) === 300_000)
    expect(Math.min(...sizes)).toBeGreaterThanOrEqual(100)
    expect(Math.max(...sizes)).toBeLessThanOrEqual(5000)
    expect(hashOf(...got, server!.input.read())).toBe(hashOf(content.subarray(0, 300_000)))
  })
})
