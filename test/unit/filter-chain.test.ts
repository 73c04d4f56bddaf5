// Random filters over random operations, both directions back to back: what goes in comes out, a flush leaves nothing
// behind, queues stay within their bounds.
import { Transform } from 'node:stream'
import zlib from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FilterChain } from '../../src/filter/chain.js'
import type { Filter } from '../../src/filter/filter.js'
import { blocks, frames, hex, pass, scramble, slow, slowBothWays, trailer } from '../support/filters.js'
import { hashOf, pattern } from '../support/record.js'

const kinds: Record<string, () => Filter> = {
  pass: () => ({ input: pass, output: pass }),
  scramble: () => scramble(11),
  frames,
  hex,
  blocks,
  trailer: () => trailer(),
  outputOnly: () => ({ output: pass }),
  inputOnly: () => ({ input: pass }),
}
const asyncKinds: Record<string, () => Filter> = {
  ...kinds,
  slow: slowBothWays,
  gzip: () => ({
    input: { create: () => zlib.createGunzip(), keepsEmpty: true },
    output: {
      create: () => zlib.createGzip(),
      flush: (stream, done) => (stream as zlib.Gzip).flush(zlib.constants.Z_SYNC_FLUSH, done),
    },
  }),
  instance: () => ({ input: slow(), output: slow() }),
}

type Operation = { put: number } | { flush: true } | { carry: number } | { take: number }

const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ put: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 60_000, max: 120_000 })) }),
  fc.record({ flush: fc.constant(true as const) }),
  fc.record({ carry: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1000, max: 100_000 })) }),
  fc.record({ take: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1000, max: 100_000 })) }),
)

const hoardLimitBytes = 1_000_000

/** A writer's chain and a reader's, with a wire between them. */
class Line {
  readonly output: FilterChain
  readonly input: FilterChain
  readonly written: Buffer[] = []
  readonly got: Buffer[] = []
  writtenBytes = 0
  gotBytes = 0
  private carryBytes = 0
  private takeBytes = 0
  private wireEnded = false
  failure: unknown

  constructor(names: string[], from: Record<string, () => Filter>) {
    const wake = () => this.run()
    this.output = new FilterChain('output', hoardLimitBytes, wake)
    this.input = new FilterChain('input', hoardLimitBytes, wake)
    for (const name of names) {
      const filter = from[name]!()
      // The first one named is nearest to the wire.
      if (filter.output) this.output.addFirst(filter)
      if (filter.input) this.input.addLast(filter, undefined)
    }
  }

  put(lengthBytes: number): void {
    const bytes = pattern(lengthBytes, this.writtenBytes)
    this.writtenBytes += lengthBytes
    this.written.push(bytes)
    this.output.put(bytes)
    this.run()
  }

  flush(): void {
    this.output.flush()
    this.run()
  }

  carry(lengthBytes: number): void {
    this.carryBytes += lengthBytes
    this.run()
  }

  take(lengthBytes: number): void {
    this.takeBytes += lengthBytes
    this.run()
  }

  open(): void {
    this.carryBytes = this.takeBytes = Number.POSITIVE_INFINITY
    this.run()
  }

  finish(): void {
    this.output.finish()
    this.open()
  }

  private run(): void {
    this.output.run(() => {
      const length = Math.min(this.carryBytes, this.output.out.sizeBytes, 65_536)
      if (length === 0 || this.input.isFull) return false
      for (const piece of this.output.out.take(length)) this.input.put(piece)
      this.carryBytes -= length
      this.fetch()
      return true
    })
    if (this.output.isOver && this.output.out.sizeBytes === 0 && !this.wireEnded) {
      this.wireEnded = true
      this.input.finish()
    }
    this.fetch()
    if (!this.input.isFull && this.output.out.sizeBytes > 0 && this.carryBytes > 0) this.run()
  }

  private fetch(): void {
    this.input.run(() => {
      // Some filters give out more than they are asked for, none without bound.
      expect(this.input.out.sizeBytes).toBeLessThanOrEqual(2 * 65_536)
      const length = Math.min(this.takeBytes, this.input.out.sizeBytes)
      if (length === 0) return false
      const bytes = this.input.out.read(length)
      this.got.push(bytes)
      this.gotBytes += length
      this.takeBytes -= length
      return true
    })
  }
}

function apply(line: Line, operation: Operation): void {
  if ('put' in operation) line.put(operation.put)
  else if ('flush' in operation) line.flush()
  else if ('carry' in operation) line.carry(operation.carry)
  else line.take(operation.take)
}

const stackOf = (from: object) => fc.array(fc.constantFrom(...Object.keys(from)), { maxLength: 4 })

describe('a chain of filters', () => {
  it('brings out what goes in, whatever the filters and the room', () => {
    fc.assert(
      fc.property(stackOf(kinds), fc.array(operation, { maxLength: 30 }), (names, operations) => {
        const line = new Line(names, kinds)
        for (const each of operations) apply(line, each)
        line.finish()
        expect(line.input.failure ?? line.output.failure).toBeUndefined()
        expect(line.output.isOver && line.input.isOver).toBe(true)
        expect(hashOf(...line.got)).toBe(hashOf(...line.written))
        expect(line.output.heldBytes + line.input.heldBytes).toBe(0)
      }),
      { numRuns: 150 },
    )
  })

  it('leaves nothing behind after a flush', () => {
    const streaming = Object.keys(kinds).filter((name) => name !== 'trailer')
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...streaming), { maxLength: 4 }),
        fc.array(operation, { maxLength: 30 }),
        (names, operations) => {
          const line = new Line(names, kinds)
          for (const each of operations) apply(line, each)
          line.flush()
          line.open()
          expect(line.output.flushedWave).toBeGreaterThan(0)
          expect(line.gotBytes).toBe(line.writtenBytes)
          expect(line.output.heldBytes).toBe(0)
        },
      ),
      { numRuns: 100 },
    )
  })

  it('does the same with transforms among them', async () => {
    await fc.assert(
      fc.asyncProperty(stackOf(asyncKinds), fc.array(operation, { maxLength: 15 }), async (names, operations) => {
        const line = new Line(names, asyncKinds)
        for (const each of operations) {
          apply(line, each)
          await new Promise((resolve) => setImmediate(resolve))
        }
        line.finish()
        while (!line.input.isOver || line.input.out.sizeBytes > 0) await new Promise((resolve) => setImmediate(resolve))
        expect(line.input.failure ?? line.output.failure).toBeUndefined()
        expect(hashOf(...line.got)).toBe(hashOf(...line.written))
        line.output.destroy()
        line.input.destroy()
      }),
      { numRuns: 50 },
    )
  })

  it('makes a transform when its first byte comes, and destroys it in the end', async () => {
    const made: Transform[] = []
    const chain = new FilterChain('input', hoardLimitBytes, () => chain.run(() => false))
    const create = () => {
      const transform = slow()
      made.push(transform)
      return transform
    }
    chain.addLast({ input: { create } }, undefined)
    chain.run(() => false)
    expect(made).toHaveLength(0)
    chain.put(Buffer.from('x'))
    chain.run(() => false)
    await new Promise((resolve) => setImmediate(resolve))
    expect(made).toHaveLength(1)
    chain.destroy()
    expect(made[0]!.destroyed).toBe(true)
  })

  it('gets what is written in one turn through a transform in one piece', async () => {
    const pieces: string[] = []
    const create = () =>
      new Transform({
        transform(chunk, _encoding, callback) {
          pieces.push(chunk.toString())
          callback()
        },
      })
    const chain = new FilterChain('output', hoardLimitBytes, () => chain.run(() => false))
    chain.addFirst({ output: { create } })
    for (const text of ['a', 'b', 'c']) {
      chain.put(Buffer.from(text))
      chain.run(() => false)
    }
    await new Promise((resolve) => setImmediate(resolve))
    expect(pieces).toEqual(['abc'])
  })

  it.each([
    ['fails', 'ERR_SLUICE_FILTER_FAILED', new Transform({ transform: (_c, _e, done) => done(new Error('no')) })],
    [
      'gives out objects',
      'ERR_SLUICE_FILTER_FAILED',
      new Transform({ objectMode: true, transform: (_c, _e, done) => done(null, {}) }),
    ],
    [
      'is destroyed',
      'ERR_SLUICE_FILTER_FAILED',
      new Transform({
        transform() {
          this.destroy()
        },
      }),
    ],
    [
      'cannot be made',
      'ERR_SLUICE_FILTER_THREW',
      {
        create() {
          throw new Error('no')
        },
      },
    ],
  ])('ends with a transform that %s', async (_, code, output) => {
    const chain = new FilterChain('output', hoardLimitBytes, () => chain.run(() => false))
    chain.addFirst({ name: 'bad', output })
    chain.put(Buffer.from('x'))
    chain.run(() => false)
    while (!chain.isOver) await new Promise((resolve) => setImmediate(resolve))
    expect(chain.failure).toMatchObject({ code, phase: 'write', message: expect.stringContaining('output of bad') })
  })

  it('gives back what was lent as soon as it has left', () => {
    const chain = new FilterChain('output', hoardLimitBytes, () => {})
    chain.addFirst({ output: pass })
    let released = 0
    chain.put(pattern(50_000), () => released++)
    chain.run(() => false)
    expect(released).toBe(0)
    chain.run(() => chain.out.drain(50_000) > 0)
    expect(released).toBe(1)
    chain.put(pattern(50_000), () => released++)
    chain.destroy()
    expect(released).toBe(2)
    chain.put(pattern(10), () => released++)
    expect(released).toBe(3)
  })
})
