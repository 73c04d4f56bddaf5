import { PassThrough } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { ByteQueue } from '../../src/byte-queue/queue.js'
import type { EndOfLine } from '../../src/byte-queue/search.js'

function queueOf(...pieces: string[]): ByteQueue {
  const queue = new ByteQueue()
  // By reference, so that each piece lies by itself.
  for (const piece of pieces) queue.appendReference(Buffer.from(piece))
  return queue
}

const invalid = expect.objectContaining({ code: 'ERR_SLUICE_INVALID_ARGUMENT' })

/** The queue's memory as others will use it: filled with something else. */
function disturb(): void {
  for (const size of [1000, 4000, 16_000, 64_000]) {
    const others = Array.from({ length: 300 }, () => new ByteQueue())
    for (const other of others) other.append(Buffer.alloc(size, 0xaa))
    for (const other of others) other.clear()
  }
}

describe('lines', () => {
  const sample = 'one\r\ntwo\nthree\r\r\n\nfour\0five'
  const lines: [EndOfLine, string[], string][] = [
    ['any', ['one', 'two', 'three'], 'four\0five'],
    ['crlf', ['one', 'two', 'three\r', ''], 'four\0five'],
    ['crlfStrict', ['one', 'two\nthree\r'], '\nfour\0five'],
    ['lf', ['one\r', 'two', 'three\r\r', ''], 'four\0five'],
    ['nul', ['one\r\ntwo\nthree\r\r\n\nfour'], 'five'],
  ]

  it.each(lines)('ending in %s come out the same wherever the bytes are cut in two', (style, expected, rest) => {
    for (let cut = 0; cut <= sample.length; cut++) {
      const queue = queueOf(sample.slice(0, cut), sample.slice(cut))
      const got: string[] = []
      for (let line = queue.readLine(style); line !== undefined; line = queue.readLine(style)) got.push(line.toString())
      expect(got).toEqual(expected)
      expect(queue.read().toString()).toBe(rest)
    }
  })

  // What was looked through before is not looked at again, so each byte that comes may complete a line.
  it.each(
    lines.filter(([style]) => style !== 'any'),
  )('ending in %s come out when they come byte by byte', (style, expected) => {
    const queue = new ByteQueue()
    const got: string[] = []
    for (const byte of sample) {
      queue.append(byte)
      for (let line = queue.readLine(style); line !== undefined; line = queue.readLine(style)) got.push(line.toString())
    }
    expect(got).toEqual(expected)
  })

  it('ending in any run: a run that comes in two parts is an empty line more', () => {
    const queue = queueOf('one\r')
    expect(queue.readLine('any')?.toString()).toBe('one')
    queue.append('\ntwo\n')
    expect(queue.readLine('any')?.toString()).toBe('')
    expect(queue.readLine('any')?.toString()).toBe('two')
  })

  it.each(['prepend', 'prependReference', 'prependFrom'] as const)('are found in what %s puts in front', (how) => {
    const queue = queueOf('no line')
    expect(queue.readLine('lf')).toBeUndefined()
    const bytes = Buffer.from('a\n')
    if (how === 'prependFrom') queue.prependFrom(queueOf('a\n'))
    else queue[how](bytes)
    expect(queue.readLine('lf')?.toString()).toBe('a')
  })

  it('are looked for anew when the style changes', () => {
    const queue = queueOf('a\0b\nc')
    expect(queue.readLine('crlfStrict')).toBeUndefined()
    expect(queue.findEndOfLine('nul')).toEqual({ atBytes: 1, lengthBytes: 1 })
    expect(queue.findEndOfLine('lf')).toEqual({ atBytes: 3, lengthBytes: 1 })
    expect(queue.findEndOfLine('lf', 4)).toBeUndefined()
    expect(() => queue.readLine('cr' as never)).toThrow(invalid)
  })
})

describe('search', () => {
  it('finds bytes, text and single bytes across pieces, within bounds', () => {
    const queue = queueOf('ab', 'a', 'bc', 'abcd')
    expect(queue.search('abc')).toBe(2)
    expect(queue.search('abc', { fromBytes: 3 })).toBe(5)
    expect(queue.search('abc', { fromBytes: 3, toBytes: 7 })).toBe(-1)
    expect(queue.search(Buffer.from('bca'))).toBe(3)
    expect(queue.search(0x64)).toBe(8)
    expect(queue.search('d', { toBytes: 8 })).toBe(-1)
    expect(queue.search('x')).toBe(-1)
  })

  it('finds nothing everywhere, up to the end', () => {
    const queue = queueOf('abc')
    expect(queue.search('', { fromBytes: 3 })).toBe(3)
    expect(queue.search('', { fromBytes: 4 })).toBe(-1)
  })
})

describe('views', () => {
  it.each([
    ['peek', (queue: ByteQueue) => queue.peek()],
    ['take', (queue: ByteQueue) => queue.take()],
    ['iteration', (queue: ByteQueue) => [...queue]],
    ['makeContiguous', (queue: ByteQueue) => [queue.makeContiguous(3000)!]],
  ])('of %s stay as they are after their bytes have left', (_, look) => {
    for (const size of [900, 3000, 16_000]) {
      const queue = new ByteQueue()
      queue.append(Buffer.alloc(size, 1))
      queue.append(Buffer.alloc(3000, 1))
      const views = look(queue)
      queue.drain()
      queue.append('x')
      queue.prepend('y')
      disturb()
      for (const view of views) expect(view.every((byte) => byte === 1)).toBe(true)
    }
  })

  it('of makeContiguous copy nothing that is in one piece already', () => {
    const bytes = Buffer.from('abcdef')
    const queue = new ByteQueue()
    queue.appendReference(bytes)
    expect(queue.makeContiguous(4)?.buffer).toBe(bytes.buffer)
    expect(queue.makeContiguous(7)).toBeUndefined()
    expect(queue.makeContiguous(0)).toHaveLength(0)
  })

  it('of makeContiguous use the room behind the first piece', () => {
    const queue = new ByteQueue()
    queue.append('ab')
    const memory = queue.peek()[0].buffer
    queue.drain()
    queue.append('cd')
    queue.appendReference(Buffer.from('ef'))
    queue.appendReference(Buffer.from('gh'))
    const view = queue.makeContiguous(5)
    disturb()
    expect(view?.toString()).toBe('cdefg')
    expect(view?.buffer).not.toBe(memory)
    expect(queue.peek()).toHaveLength(2)
    expect(queue.read().toString()).toBe('cdefgh')
  })

  it('taken from memory that was lent are copies, since that goes back at once', () => {
    const queue = new ByteQueue()
    const bytes = Buffer.from('abc')
    queue.appendReference(bytes, () => bytes.fill(0))
    expect(Buffer.concat(queue.take()).toString()).toBe('abc')
    expect([...bytes]).toEqual([0, 0, 0])
  })
})

describe('lent memory', () => {
  it('comes back when the last queue that shares it has let go', () => {
    let released = 0
    const [first, second, third] = [new ByteQueue(), new ByteQueue(), new ByteQueue()]
    first.appendReference(Buffer.from('abcdef'), () => released++)
    second.appendShared(first)
    third.appendFrom(first, 2)
    first.clear()
    second.clear()
    third.drain(1)
    expect(released).toBe(0)
    third.drain(1)
    expect(released).toBe(1)
  })

  it('comes back at once if it is empty or copied elsewhere, and not at all if it was refused', () => {
    let released = 0
    const release = () => void released++
    const queue = new ByteQueue()
    queue.appendReference(Buffer.alloc(0), release)
    expect(released).toBe(1)
    queue.appendReference(Buffer.from('ab'), release)
    queue.append('c')
    queue.makeContiguous(3)
    expect(released).toBe(2)
    queue.freeze('back')
    expect(() => queue.appendReference(Buffer.from('d'), release)).toThrow(invalid)
    queue.freeze('front')
    expect(() => queue.prependReference(Buffer.from('d'), release)).toThrow(invalid)
    queue[Symbol.dispose]()
    expect(released).toBe(2)
  })

  it('comes back when all is in order: the callback may use the queue', () => {
    const queue = new ByteQueue()
    const seen: number[] = []
    queue.onChange(({ sizeBeforeBytes, addedBytes, removedBytes }) => {
      seen.push(sizeBeforeBytes, addedBytes, removedBytes)
    })
    queue.appendReference(Buffer.from('ab'), () => queue.append('more'))
    queue.drain()
    expect(queue.read().toString()).toBe('more')
    expect(seen).toEqual([0, 2, 0, 2, 0, 2, 0, 4, 0, 4, 0, 4])
  })
})

describe('shared bytes', () => {
  it('are not changed by what either queue does afterwards', () => {
    const [first, second] = [new ByteQueue(), new ByteQueue()]
    first.append('shared')
    second.appendShared(first)
    first.append(' by one')
    second.append(' by two')
    first.drain(2)
    first.prepend('SH')
    expect(first.read().toString()).toBe('SHared by one')
    expect(second.read().toString()).toBe('shared by two')
  })
})

describe('moving', () => {
  it('all takes the same few steps however many pieces there are', () => {
    const [from, to] = [new ByteQueue(), new ByteQueue()]
    const piece = Buffer.from('x')
    for (let i = 0; i < 100_000; i++) from.appendReference(piece)
    // Back and forth so often that a step per piece would take hours.
    for (let i = 0; i < 30_000; i++) {
      expect(to.appendFrom(from)).toBe(100_000)
      expect(from.prependFrom(to)).toBe(100_000)
    }
    expect(from.sizeBytes).toBe(100_000)
  })

  it('to itself and from an empty queue does nothing', () => {
    const queue = queueOf('ab')
    expect(queue.appendFrom(queue)).toBe(0)
    expect(queue.prependFrom(new ByteQueue())).toBe(0)
    expect(queue.read().toString()).toBe('ab')
  })
})

describe('reserve and commit', () => {
  it('append what was written, or less', () => {
    const queue = queueOf('a')
    const room = queue.reserve(100)
    expect(room.length).toBeGreaterThanOrEqual(100)
    room.set(Buffer.from('bcd'))
    expect(queue.sizeBytes).toBe(1)
    queue.commit(2)
    expect(queue.read().toString()).toBe('abc')
  })

  it('work with draining in between', () => {
    const queue = new ByteQueue()
    queue.append('abc')
    queue.reserve(10).set(Buffer.from('def'))
    queue.drain()
    queue.commit(3)
    const other = new ByteQueue()
    other.appendShared(queue)
    queue.drain()
    disturb()
    expect(other.read().toString()).toBe('def')
  })

  it('work with a part moved away in between', () => {
    const queue = new ByteQueue()
    queue.append('abc')
    queue.reserve(10).set(Buffer.from('def'))
    const other = new ByteQueue()
    other.appendFrom(queue, 2)
    queue.commit(3)
    expect(queue.read().toString()).toBe('cdef')
  })

  it('refuse a commit of too much, after other bytes, twice, and of nothing reserved', () => {
    const queue = new ByteQueue()
    expect(() => queue.commit(0)).toThrow(invalid)
    const room = queue.reserve(10)
    expect(() => queue.commit(room.length + 1)).toThrow(invalid)
    queue.commit(1)
    expect(() => queue.commit(1)).toThrow(invalid)
    queue.reserve(10)
    queue.append('x')
    expect(() => queue.commit(1)).toThrow(invalid)
    queue.reserve(10)
    queue.freeze('back')
    expect(() => queue.commit(1)).toThrow(invalid)
    expect(queue.sizeBytes).toBe(2)
  })
})

describe('a frozen end', () => {
  const atBack: [string, (queue: ByteQueue) => unknown][] = [
    ['append', (queue) => queue.append('x')],
    ['appendReference', (queue) => queue.appendReference(Buffer.from('x'))],
    ['appendShared', (queue) => queue.appendShared(queueOf('x'))],
    ['appendFrom', (queue) => queue.appendFrom(queueOf('x'))],
    ['reserve', (queue) => queue.reserve(1)],
  ]
  const atFront: [string, (queue: ByteQueue) => unknown][] = [
    ['prepend', (queue) => queue.prepend('x')],
    ['prependReference', (queue) => queue.prependReference(Buffer.from('x'))],
    ['prependFrom', (queue) => queue.prependFrom(queueOf('x'))],
    ['drain', (queue) => queue.drain(1)],
    ['read', (queue) => queue.read(1)],
    ['take', (queue) => queue.take(1)],
    ['readLine', (queue) => queue.readLine()],
    ['being moved from', (queue) => new ByteQueue().appendFrom(queue)],
    ['writeTo', (queue) => queue.writeTo({ writeLent: () => true } as never)],
  ]
  const all = [...atBack.map((row) => ['back', ...row] as const), ...atFront.map((row) => ['front', ...row] as const)]

  it.each(all)('at the %s refuses %s, with nothing changed', (end, _, operation) => {
    const queue = queueOf('ab\n', 'cd')
    queue.freeze(end)
    expect(queue.isFrozen(end)).toBe(true)
    expect(() => operation(queue)).toThrow(invalid)
    queue.unfreeze(end)
    expect(queue.isFrozen(end)).toBe(false)
    expect(queue.read().toString()).toBe('ab\ncd')
  })

  it('leaves the other end free', () => {
    const queue = queueOf('ab')
    queue.freeze('front')
    for (const [, operation] of atBack) operation(queue)
    queue.unfreeze('front')
    queue.freeze('back')
    queue.prepend('y')
    expect(queue.drain()).toBe(7)
  })
})

describe('change hooks', () => {
  it('are told sizes, can be switched off, and removed', () => {
    const queue = new ByteQueue()
    const told: number[][] = []
    const hook = queue.onChange((change) => told.push([change.sizeBeforeBytes, change.addedBytes, change.removedBytes]))
    queue.append('abc')
    queue.append('')
    queue.drain(1)
    hook.enabled = false
    queue.append('d')
    hook.enabled = true
    queue.prepend('e')
    hook.remove()
    queue.drain()
    expect(told).toEqual([
      [0, 3, 0],
      [3, 0, 1],
      [3, 1, 0],
    ])
  })

  it('that change the queue are told of it after the others, not within their own call', () => {
    const queue = new ByteQueue()
    const order: string[] = []
    let depth = 0
    queue.onChange(({ addedBytes }) => {
      order.push(`first ${addedBytes} at depth ${depth++}`)
      if (queue.sizeBytes < 4) queue.append('x')
      depth--
    })
    queue.onChange(({ addedBytes }) => order.push(`second ${addedBytes}`))
    queue.append('ab')
    expect(order).toEqual(['first 2 at depth 0', 'first 1 at depth 0', 'first 1 at depth 0', 'second 4'])
  })

  it('see both queues of a move complete', () => {
    const [from, to] = [queueOf('abc'), new ByteQueue()]
    const seen: number[][] = []
    for (const queue of [from, to]) queue.onChange(() => seen.push([from.sizeBytes, to.sizeBytes]))
    to.appendFrom(from, 2)
    expect(seen).toEqual([
      [1, 2],
      [1, 2],
    ])
  })

  it('that are deferred are told the sum', async () => {
    const queue = new ByteQueue()
    const change = new Promise((resolve) => queue.onChange(resolve, { deferred: true }))
    queue.append('abc')
    queue.drain(1)
    queue.append('d')
    expect(await change).toEqual({ sizeBeforeBytes: 0, addedBytes: 4, removedBytes: 1 })
  })
})

describe('waiting', () => {
  it('ends when there is enough', async () => {
    const queue = new ByteQueue()
    const enough = queue.available(3)
    queue.append('ab')
    queue.append('c')
    expect(await enough).toBe(true)
    expect(await queue.available(3)).toBe(true)
  })

  it('ends with false at an end, and with the error given there', async () => {
    const [fine, failed] = [queueOf('ab'), queueOf('ab')]
    const waiting = [fine.available(3), failed.available(3)]
    fine.end()
    failed.end(new Error('broken'))
    expect(await waiting[0]).toBe(false)
    await expect(waiting[1]).rejects.toThrow('broken')
    expect(await failed.available(2)).toBe(true)
    expect(fine.ended).toBe(true)
    expect(() => fine.append('x')).toThrow(expect.objectContaining({ code: 'ERR_SLUICE_WRITE_AFTER_END' }))
  })

  it('for await gives everything, then the end', async () => {
    const queue = queueOf('ab')
    const got: string[] = []
    setImmediate(() => {
      queue.append('cd')
      queue.end()
    })
    for await (const pieces of queue) got.push(Buffer.concat(pieces).toString())
    expect(got).toEqual(['ab', 'cd'])
  })
})

describe('arguments', () => {
  it.each([-1, 1.5, Number.NaN, '1', null])('of %s bytes are refused before anything happens', (count) => {
    const queue = queueOf('ab')
    const wrong = count as number
    const calls = [
      () => queue.drain(wrong),
      () => queue.read(wrong),
      () => queue.take(wrong),
      () => queue.peek(wrong),
      () => queue.peek(1, wrong),
      () => queue.copyOut(Buffer.alloc(1), wrong),
      () => queue.makeContiguous(wrong),
      () => queue.reserve(wrong),
      () => queue.commit(wrong),
      () => queue.byteAt(wrong),
      () => queue.search('a', { fromBytes: wrong }),
      () => queue.search('a', { toBytes: wrong }),
      () => queue.findEndOfLine('lf', wrong),
      () => queue.appendFrom(queueOf('x'), wrong),
      () => queue.prependFrom(queueOf('x'), wrong),
      () => void queue.available(wrong),
    ]
    for (const call of calls) expect(call).toThrow(invalid)
    expect(queue.read().toString()).toBe('ab')
  })

  it('of the wrong kind are refused before anything happens', () => {
    const queue = queueOf('ab')
    const calls = [
      () => queue.append(5 as never),
      () => queue.prepend(null as never),
      () => queue.appendReference('text' as never),
      () => queue.appendReference(Buffer.from('x'), 5 as never),
      () => queue.prependReference([] as never),
      () => queue.appendShared({} as never),
      () => queue.appendShared(queue),
      () => queue.appendFrom(Buffer.from('x') as never),
      () => queue.prependFrom(undefined as never),
      () => queue.copyOut('x' as never),
      () => queue.search(256),
      () => queue.search({} as never),
      () => queue.freeze('left' as never),
      () => queue.isFrozen(undefined as never),
      () => queue.onChange('x' as never),
      () => queue.writeTo(new PassThrough() as never),
    ]
    for (const call of calls) expect(call).toThrow(invalid)
    const option = expect.objectContaining({ code: 'ERR_SLUICE_INVALID_OPTION', option: 'deferred' })
    expect(() => queue.onChange(() => undefined, { deferred: 1 as never })).toThrow(option)
    expect(queue.read().toString()).toBe('ab')
  })
})
