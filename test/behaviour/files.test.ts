// Parts of files among what is written: in order, with back-pressure, shared, and their descriptors closed once.
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ByteQueue, FileSegment, gzip } from 'sluice'
import { afterAll, describe, expect, it } from 'vitest'
import { scramble, slowBothWays } from '../support/filters.js'
import { kernelModes, modes } from '../support/modes.js'
import { connectedPair, eventually, nextTurn } from '../support/pair.js'
import { hashOf, pattern } from '../support/record.js'
import { standstill } from '../support/standstill.js'

const folder = mkdtempSync(join(tmpdir(), 'sluice-files-'))
afterAll(() => rmSync(folder, { recursive: true }))

const content = pattern(3_000_000, 5)
const path = join(folder, 'content')
writeFileSync(path, content)

/** A file of its own for a test that changes it. */
function fileOf(name: string, bytes: Uint8Array): string {
  const file = join(folder, name)
  writeFileSync(file, bytes)
  return file
}

const isOpen = (fd: number): boolean => {
  try {
    fstatSync(fd)
    return true
  } catch {
    return false
  }
}

describe.each(modes())('files on $name', (mode) => {
  it('are sent in their place among what is written, whole and in parts', async () => {
    await using pair = await connectedPair(mode)
    using file = await FileSegment.open(path)
    expect(file.sizeBytes).toBe(content.length)
    const { client } = pair
    client.write('head ')
    client.writeFile(file, { fromBytes: 10, lengthBytes: 20 })
    client.write(' then ')
    client.writeFile(file)
    client.writeFile(file, { fromBytes: 2_999_999 })
    client.writeFile(file, { lengthBytes: 0 })
    client.write(content.subarray(0, 50_000))
    client.end(' tail')
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(
      hashOf(
        Buffer.from('head '),
        content.subarray(10, 30),
        Buffer.from(' then '),
        content,
        content.subarray(2_999_999),
        content.subarray(0, 50_000),
        Buffer.from(' tail'),
      ),
    )
  })

  it('are sent to the end whatever is before them, piece by piece', async () => {
    await using pair = await connectedPair(mode, { connect: { highWaterBytes: 100_000 } })
    using file = await FileSegment.open(path)
    const sent: Buffer[] = []
    // Whatever was left of the room for a piece when the file began: none, little, all.
    for (const before of [0, 1, 4, 65_535, 65_536, 65_537, 0]) {
      if (before > 0) pair.client.write(pattern(before))
      pair.client.writeFile(file, { lengthBytes: 200_000 })
      sent.push(pattern(before), content.subarray(0, 200_000))
      await pair.client.drained()
    }
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(...sent))
  })

  it('may be a part themselves, shared by many connections, and are closed when the last has sent them', async () => {
    const fd = openSync(path, 'r')
    const file = await FileSegment.of(fd, { offsetBytes: 1_000_000, lengthBytes: 500_000, closeFile: true })
    await using first = await connectedPair(mode)
    await using second = await connectedPair(mode)
    for (const { client } of [first, second]) {
      client.writeFile(file)
      client.writeFile(file, { fromBytes: 499_000 })
      client.end()
    }
    file.close()
    file.close()
    expect(() => first.server.writeFile(file)).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_CLOSED' }))
    for (const pair of [first, second]) {
      await pair.atServer.closed()
      const expected = content.subarray(1_000_000, 1_500_000)
      expect(pair.atServer.hash).toBe(hashOf(expected, expected.subarray(499_000)))
    }
    await eventually(() => !isOpen(fd))
  })

  it('leave a descriptor or handle alone that is not theirs', async () => {
    await using handle = await open(path)
    using file = await FileSegment.of(handle, { offsetBytes: 2_999_990 })
    await using pair = await connectedPair(mode)
    pair.client.writeFile(file)
    pair.client.end()
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(content.subarray(2_999_990)))
    file.close()
    for (let i = 0; i < 5; i++) await nextTurn()
    expect(isOpen(handle.fd)).toBe(true)
  })

  it('pass filters, also those that come when they are on their way', async () => {
    const filters = () => [gzip(), slowBothWays()]
    await using pair = await connectedPair(mode, { listen: { filters }, connect: { filters } })
    using file = await FileSegment.open(path)
    pair.client.write('x')
    pair.client.writeFile(file)
    pair.client.write('y')
    await pair.atServer.received(3_000_002)
    const swap = scramble(1)
    pair.client.writeFile(file, { lengthBytes: 100_000 })
    pair.client.filter({ output: swap.output! })
    pair.client.end('after')
    await pair.atServer.closed()
    const bytes = pair.atServer.bytes
    expect(hashOf(bytes.subarray(0, 3_100_002))).toBe(
      hashOf(Buffer.from('x'), content, Buffer.from('y'), content.subarray(0, 100_000)),
    )
    expect([...bytes.subarray(3_100_002)]).toEqual([...Buffer.from('after')].map((byte, i) => byte ^ (1 + i)))
  })

  it('count for what is queued and for drain, not for the hard limit', async () => {
    const marks = { highWaterBytes: 100_000, hardLimitBytes: 200_000 }
    await using pair = await connectedPair(mode, { connect: marks })
    using file = await FileSegment.open(path)
    pair.server.pause()
    expect(pair.client.writeFile(file)).toBe(false)
    if (mode.threads === 0) expect(pair.client.queuedBytes).toBeGreaterThan(0)
    expect(pair.client.write(pattern(50_000))).toBe(pair.client.queuedBytes < 100_000)
    pair.server.resume()
    await pair.atClient.saw('drain')
    expect(pair.client.queuedBytes).toBe(0)
    pair.client.writeFile(file, { lengthBytes: 10_000 })
    await pair.client.drained()
    await pair.client.close()
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(hashOf(content, pattern(50_000), content.subarray(0, 10_000)))
  })

  it('that have become too short end writing, after what there was', async () => {
    const short = fileOf(`short ${mode.name}`, pattern(1000))
    using file = await FileSegment.open(short)
    await using pair = await connectedPair(mode, { listen: { allowHalfOpen: true } })
    truncateSync(short, 600)
    pair.client.write('>')
    pair.client.writeFile(file)
    await pair.atClient.saw('error ERR_SLUICE_FILE_FAILED')
    expect(pair.atClient.error).toMatchObject({ code: 'ERR_SLUICE_FILE_FAILED', phase: 'write' })
    await pair.atServer.saw('end')
    expect(pair.atServer.hash).toBe(hashOf(Buffer.from('>'), pattern(600)))
    pair.server.end('still heard')
    await pair.atClient.closed()
    expect(pair.atClient.text).toBe('still heard')
  })

  it('are given back when their connection goes before they have', async () => {
    const fd = openSync(path, 'r')
    const file = await FileSegment.of(fd, { closeFile: true })
    await using pair = await connectedPair(mode, { server: { error() {} }, connect: { sendBufferBytes: 65_536 } })
    pair.server.pause()
    pair.client.writeFile(file)
    pair.client.writeFile(file)
    file.close()
    await nextTurn()
    expect(isOpen(fd)).toBe(true)
    pair.client.destroy()
    await eventually(() => !isOpen(fd))
  })

  it('wait in byte queues without being read, and leave in their place', async () => {
    const fd = openSync(path, 'r')
    const file = await FileSegment.of(fd, { closeFile: true })
    await using pair = await connectedPair(mode, { connect: { highWaterBytes: 300_000, hardLimitBytes: 400_000 } })
    const queue = new ByteQueue()
    queue.append('head')
    queue.appendFile(file)
    queue.append('middle')
    queue.appendFile(file, { fromBytes: 100, lengthBytes: 50 })
    queue.append('tail')
    file.close()
    expect(queue.sizeBytes).toBe(content.length + 64)
    const rest = new ByteQueue()
    rest.appendFrom(queue, 2_000_000)
    expect(rest.writeTo(pair.client)).toBeGreaterThan(0)
    while (rest.sizeBytes > 0) {
      await pair.client.drained()
      rest.writeTo(pair.client)
    }
    await pair.client.drained()
    pair.client.end(queue)
    await pair.atServer.closed()
    expect(pair.atServer.hash).toBe(
      hashOf(Buffer.from('head'), content, Buffer.from('middle'), content.subarray(100, 150), Buffer.from('tail')),
    )
    await eventually(() => !isOpen(fd))
  })

  it('refuse parts that are not there', async () => {
    await using pair = await connectedPair(mode)
    using file = await FileSegment.open(path, { offsetBytes: 2_999_000 })
    const wrong: [object, string][] = [
      [{ fromBytes: 1001 }, 'fromBytes'],
      [{ fromBytes: -1 }, 'fromBytes'],
      [{ fromBytes: 500, lengthBytes: 501 }, 'lengthBytes'],
      [{ from: 1 }, 'from'],
    ]
    for (const [range, option] of wrong) {
      expect(() => pair.client.writeFile(file, range)).toThrow(
        expect.objectContaining({ code: 'ERR_SLUICE_INVALID_OPTION', option }),
      )
    }
    expect(() => pair.client.writeFile(path as never)).toThrow(expect.objectContaining({ option: 'segment' }))
    pair.client.end()
    expect(() => pair.client.writeFile(file)).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_WRITE_AFTER_END' }))
  })
})

describe.each(kernelModes())('a large file on $name', (mode) => {
  it('is not read into memory while nobody takes it', async () => {
    const large = fileOf('large', Buffer.alloc(0))
    truncateSync(large, 500_000_000)
    using file = await FileSegment.open(large)
    await using pair = await connectedPair(mode, {
      connect: { highWaterBytes: 300_000, sendBufferBytes: 65_536 },
      listen: { receiveBufferBytes: 65_536 },
      server: { error() {} },
    })
    pair.server.pause()
    const before = process.memoryUsage.rss()
    pair.client.writeFile(file)
    await standstill(() => pair.client.queuedBytes)
    expect(pair.client.queuedBytes).toBeGreaterThan(490_000_000)
    expect(process.memoryUsage.rss() - before).toBeLessThan(50_000_000)
    pair.client.destroy()
  })
})

describe('a part of a file in a byte queue', () => {
  it('is read when somebody looks at it', async () => {
    const fd = openSync(path, 'r')
    const file = await FileSegment.of(fd, { closeFile: true, offsetBytes: 1000, lengthBytes: 1_000_000 })
    const queue = new ByteQueue()
    queue.append('>')
    queue.appendFile(file, { lengthBytes: 600_000 })
    queue.prepend('>')
    queue.append('<')
    file.close()
    const expected = Buffer.concat([Buffer.from('>>'), content.subarray(1000, 601_000), Buffer.from('<')])
    expect(queue.byteAt(300_000)).toBe(expected[300_000])
    expect(queue.search(expected.subarray(262_140, 262_150))).toBe(
      expected.indexOf(expected.subarray(262_140, 262_150)),
    )
    const shared = new ByteQueue()
    shared.appendShared(queue)
    expect(hashOf(...queue.peek(10, 5))).toBe(hashOf(expected.subarray(5, 15)))
    expect(hashOf(queue.makeContiguous(300_000)!)).toBe(hashOf(expected.subarray(0, 300_000)))
    expect(hashOf(...queue.take(400_000))).toBe(hashOf(expected.subarray(0, 400_000)))
    expect(hashOf(queue.read())).toBe(hashOf(expected.subarray(400_000)))
    expect(isOpen(fd)).toBe(true)
    shared.clear()
    await eventually(() => !isOpen(fd))
  })

  it('tells whoever looks that the file has become too short, and stays', async () => {
    const short = fileOf('short in queue', pattern(1000))
    using file = await FileSegment.open(short)
    const queue = new ByteQueue()
    queue.appendFile(file)
    truncateSync(short, 10)
    expect(() => queue.read(5)).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_FILE_FAILED' }))
    expect(queue.sizeBytes).toBe(1000)
    expect(queue.drain()).toBe(1000)
    file.close()
    expect(() => queue.appendFile(file)).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_CLOSED' }))
    expect(() => queue.appendFile(short as never)).toThrow(
      expect.objectContaining({ code: 'ERR_SLUICE_INVALID_ARGUMENT' }),
    )
  })
})

describe('a file segment', () => {
  it.each([
    ['a missing file', () => FileSegment.open(join(folder, 'missing')), 'ERR_SLUICE_FILE_FAILED'],
    ['a folder', () => FileSegment.open(folder), 'ERR_SLUICE_FILE_FAILED'],
    [
      'more than there is',
      () => FileSegment.open(path, { offsetBytes: 1, lengthBytes: 3_000_000 }),
      'ERR_SLUICE_FILE_FAILED',
    ],
    ['a wrong offset', () => FileSegment.open(path, { offsetBytes: -1 }), 'ERR_SLUICE_INVALID_OPTION'],
    ['no descriptor', () => FileSegment.of(-1), 'ERR_SLUICE_INVALID_ARGUMENT'],
    ['nothing', () => FileSegment.of(undefined as never), 'ERR_SLUICE_INVALID_ARGUMENT'],
  ])('is not made of %s', async (_, make, code) => {
    await expect(make()).rejects.toMatchObject({ code })
  })

  it('closes what it owns also when it cannot be made', async () => {
    const fd = openSync(path, 'r')
    await expect(FileSegment.of(fd, { offsetBytes: 4_000_000, lengthBytes: 1, closeFile: true })).rejects.toThrow()
    await eventually(() => !isOpen(fd))
    const kept = openSync(path, 'r')
    await expect(FileSegment.of(kept, { offsetBytes: 4_000_000, lengthBytes: 1 })).rejects.toThrow()
    expect(isOpen(kept)).toBe(true)
    closeSync(kept)
  })
})
