// Collected input under random arrivals, takes, pauses and changes of its marks, beside a plain count of bytes.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Connection } from '../../src/connection.js'
import { ConnectionInput } from '../../src/input.js'
import { pausedByQueue } from '../../src/native/records.js'
import { hashOf, pattern } from '../support/record.js'

/** As much of a connection as an input asks of it; its socket sends on as long as nobody pauses it. */
class World {
  paused = false
  isReadByHandlers = true
  isResting = false
  arrived = 0
  readonly calls: number[] = []
  readonly taken: Buffer[] = []
  readonly input: ConnectionInput
  thrown: unknown
  private depth = 0

  constructor(
    lowWaterBytes: number,
    highWaterBytes: number,
    private readonly takes: (sizeBytes: number) => number,
  ) {
    const settings = { readLowWaterBytes: lowWaterBytes, readHighWaterBytes: highWaterBytes, highWaterBytes: 1 }
    const connection = Object.assign(this, {
      settings,
      pauseFor: (reason: number) => {
        expect(reason).toBe(pausedByQueue)
        this.isResting = true
      },
      resumeFor: () => {
        this.isResting = false
      },
      tellReadable: () => this.readable(),
      handlerThrew: (thrown: unknown) => {
        this.thrown = thrown
      },
    })
    this.input = new ConnectionInput(connection as unknown as Connection)
  }

  /** Bytes of one event of the socket; what came in the same turn still comes when it has been paused. */
  arrive(lengthBytes: number): void {
    this.input.take(pattern(lengthBytes, this.arrived))
    this.arrived += lengthBytes
  }

  take(lengthBytes: number): void {
    this.taken.push(this.input.queue.read(lengthBytes))
  }

  get waiting(): number {
    return this.arrived - this.taken.reduce((sum, { length }) => sum + length, 0)
  }

  private readable(): void {
    expect(this.depth).toBe(0)
    this.depth++
    const { sizeBytes } = this.input.queue
    const { lowWaterBytes, highWaterBytes } = this.input.waterMarks
    expect(this.paused).toBe(false)
    expect(sizeBytes).toBeGreaterThanOrEqual(Math.max(1, lowWaterBytes))
    expect(sizeBytes).toBeLessThanOrEqual(Math.max(highWaterBytes, this.mostSeen))
    this.calls.push(sizeBytes)
    this.take(this.takes(sizeBytes))
    this.depth--
  }

  // Lowering the high mark takes nothing back.
  mostSeen = 0

  setMarks(lowWaterBytes: number, highWaterBytes: number): void {
    this.mostSeen = Math.max(this.mostSeen, this.input.queue.sizeBytes)
    this.input.waterMarks = { lowWaterBytes: Math.min(lowWaterBytes, highWaterBytes), highWaterBytes }
  }

  /** What holds whenever nothing is under way. */
  check(): void {
    const { queue, waterMarks } = this.input
    expect(this.thrown).toBeUndefined()
    expect(this.isResting).toBe(queue.sizeBytes >= waterMarks.highWaterBytes || this.waiting > queue.sizeBytes)
    // More than is shown waits only behind a full queue.
    if (this.waiting > queue.sizeBytes) expect(queue.sizeBytes).toBeGreaterThanOrEqual(waterMarks.highWaterBytes)
  }
}

type Operation = { arrive: number } | { take: number } | { pause: boolean } | { marks: [number, number] }

const size = fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 100, max: 3000 }))
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ arrive: size }),
  fc.record({ take: size }),
  fc.record({ pause: fc.boolean() }),
  fc.record({ marks: fc.tuple(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 1, max: 2000 })) }),
)

describe('collected input', () => {
  it('keeps between its marks, loses nothing, and rests exactly while it is full', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 100 }),
        fc.integer({ min: 100, max: 1000 }),
        fc.integer({ min: 0, max: 4 }),
        fc.array(operation, { maxLength: 40 }),
        async (low, high, divisor, operations) => {
          const world = new World(low, high, (sizeBytes) => (divisor === 0 ? 0 : Math.ceil(sizeBytes / divisor)))
          for (const each of operations) {
            if ('arrive' in each) {
              if (!world.isResting && !world.paused) world.arrive(each.arrive)
            } else if ('take' in each) {
              world.take(each.take)
            } else if ('marks' in each) {
              world.setMarks(...each.marks)
            } else {
              world.paused = each.pause
              if (!each.pause) world.input.resumed()
            }
            await Promise.resolve()
            world.check()
          }
          world.paused = false
          world.input.resumed()
          world.setMarks(0, 1_000_000)
          await Promise.resolve()
          world.check()
          world.take(Number.MAX_SAFE_INTEGER)
          expect(hashOf(...world.taken)).toBe(hashOf(pattern(world.arrived)))
        },
      ),
      { numRuns: 300 },
    )
  })

  it('is told of each arrival that leaves enough, and of nothing twice', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 30 }), async (arrivals) => {
        const world = new World(20, 1_000_000, () => 0)
        let sum = 0
        let expected = 0
        for (const length of arrivals) {
          world.arrive(length)
          sum += length
          if (sum >= 20) expected++
          await Promise.resolve()
          expect(world.calls.length).toBe(expected)
        }
      }),
    )
  })
})
