// Random operations on a few queues, each beside a plain array that says what it should hold.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ByteQueue } from '../../src/byte-queue/queue.js'
import type { EndOfLine } from '../../src/byte-queue/search.js'

interface Lent {
  length: number
  released: number
}

/** What the queues should hold, what was lent to them, and the views they gave out with what these showed then. */
class Model {
  readonly bytes: number[][] = [[], [], []]
  readonly lent: Lent[] = []
  readonly views: { view: Uint8Array; copy: number[] }[] = []
}

interface Real {
  readonly queues: ByteQueue[]
  readonly sums: { size: number }[]
}

type Command = fc.Command<Model, Real>

function setup(): { model: Model; real: Real } {
  const queues = [new ByteQueue(), new ByteQueue(), new ByteQueue()]
  const sums = queues.map((queue) => {
    const sum = { size: 0 }
    queue.onChange(({ sizeBeforeBytes, addedBytes, removedBytes }) => {
      expect(sizeBeforeBytes).toBe(sum.size)
      sum.size += addedBytes - removedBytes
      expect(queue.sizeBytes).toBe(sum.size)
    })
    return sum
  })
  return { model: new Model(), real: { queues, sums } }
}

function command(name: string, run: (model: Model, real: Real) => void): Command {
  return {
    check: () => true,
    toString: () => name,
    run: (model, real) => {
      run(model, real)
      real.queues.forEach((queue, i) => {
        expect(queue.sizeBytes).toBe(model.bytes[i].length)
        const copy = Buffer.alloc(queue.sizeBytes)
        expect(queue.copyOut(copy)).toBe(copy.length)
        expect([...copy]).toEqual(model.bytes[i])
        expect(real.sums[i].size).toBe(queue.sizeBytes)
      })
      for (const { released } of model.lent) expect(released).toBeLessThanOrEqual(1)
      for (const { view, copy } of model.views) expect([...view]).toEqual(copy)
    },
  }
}

// Few values, so that searches find something, and sizes about the borders of chunks.
const bytes = fc.oneof(
  { weight: 4, arbitrary: fc.array(fc.constantFrom(0, 10, 13, 65, 66), { maxLength: 12 }) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom(500, 1023, 1024, 1025, 3000), fc.nat(255))
      .map(([length, first]) => Array.from({ length }, (_, i) => (first + i) & 255)),
  },
)
const which = fc.nat(2)
const count = fc.oneof(fc.nat(20), fc.nat(3000))
const styles: EndOfLine[] = ['any', 'crlf', 'crlfStrict', 'lf', 'nul']
const patterns: { [K in EndOfLine]: RegExp } = {
  ...{ any: /[\r\n]+/, crlf: /\r?\n/, crlfStrict: /\r\n/, lf: /\n/, nul: /\0/ },
}

const text = (values: number[]) => Buffer.from(values).toString('latin1')

const commands: fc.Arbitrary<Command>[] = [
  fc.tuple(which, bytes).map(([q, b]) =>
    command(`append ${b.length} to ${q}`, ({ bytes }, { queues }) => {
      const given = Buffer.from(b)
      queues[q].append(given)
      given.fill(0xee)
      bytes[q].push(...b)
    }),
  ),
  fc.tuple(which, bytes).map(([q, b]) =>
    command(`prepend ${b.length} to ${q}`, ({ bytes }, { queues }) => {
      queues[q].prepend(Uint8Array.from(b))
      bytes[q].unshift(...b)
    }),
  ),
  fc.tuple(which, bytes, fc.boolean()).map(([q, b, inFront]) =>
    command(`lend ${b.length} to ${q}`, ({ bytes, lent }, { queues }) => {
      const entry = { length: b.length, released: 0 }
      lent.push(entry)
      const release = () => void entry.released++
      if (inFront) queues[q].prependReference(Uint8Array.from(b), release)
      else queues[q].appendReference(Uint8Array.from(b), release)
      if (inFront) bytes[q].unshift(...b)
      else bytes[q].push(...b)
    }),
  ),
  fc.tuple(which, which).map(([to, from]) =>
    command(`share ${from} with ${to}`, ({ bytes }, { queues }) => {
      if (to === from || bytes[to].length + bytes[from].length > 20_000) return
      queues[to].appendShared(queues[from])
      bytes[to].push(...bytes[from])
    }),
  ),
  fc.tuple(which, which, fc.option(count), fc.boolean()).map(([to, from, n, inFront]) =>
    command(`move ${n ?? 'all'} from ${from} to ${to}`, ({ bytes }, { queues }) => {
      const moved = to === from ? [] : bytes[from].splice(0, n ?? Number.POSITIVE_INFINITY)
      const answer = inFront
        ? queues[to].prependFrom(queues[from], n ?? undefined)
        : queues[to].appendFrom(queues[from], n ?? undefined)
      expect(answer).toBe(moved.length)
      if (inFront) bytes[to].unshift(...moved)
      else bytes[to].push(...moved)
    }),
  ),
  fc.tuple(which, fc.nat(2000), bytes).map(([q, room, b]) =>
    command(`reserve in ${q}, commit ${b.length}`, ({ bytes }, { queues }) => {
      const reserved = queues[q].reserve(room + b.length)
      expect(reserved.length).toBeGreaterThanOrEqual(room + b.length)
      reserved.set(b)
      queues[q].commit(b.length)
      bytes[q].push(...b)
    }),
  ),
  fc.tuple(which, count).map(([q, n]) =>
    command(`drain ${n} of ${q}`, ({ bytes }, { queues }) => {
      expect(queues[q].drain(n)).toBe(bytes[q].splice(0, n).length)
    }),
  ),
  fc.tuple(which, count).map(([q, n]) =>
    command(`read ${n} of ${q}`, ({ bytes }, { queues }) => {
      expect([...queues[q].read(n)]).toEqual(bytes[q].splice(0, n))
    }),
  ),
  fc.tuple(which, count).map(([q, n]) =>
    command(`take ${n} of ${q}`, ({ bytes, views }, { queues }) => {
      const taken = queues[q].take(n)
      const all = Buffer.concat(taken)
      expect([...all]).toEqual(bytes[q].splice(0, n))
      for (const view of taken) views.push({ view, copy: [...view] })
    }),
  ),
  fc.tuple(which, count, count).map(([q, n, from]) =>
    command(`peek ${n} of ${q} from ${from}`, ({ bytes, views }, { queues }) => {
      const seen = queues[q].peek(n, from)
      expect([...Buffer.concat(seen)]).toEqual(bytes[q].slice(from, from + n))
      for (const view of seen) views.push({ view, copy: [...view] })
    }),
  ),
  fc.tuple(which, count).map(([q, n]) =>
    command(`make ${n} of ${q} contiguous`, ({ bytes, views }, { queues }) => {
      const view = queues[q].makeContiguous(n)
      if (n > bytes[q].length) expect(view).toBeUndefined()
      else expect([...view!]).toEqual(bytes[q].slice(0, n))
      if (view !== undefined) views.push({ view, copy: [...view] })
      if (n > 0 && n <= bytes[q].length) expect(queues[q].peek(n)).toHaveLength(1)
    }),
  ),
  fc.tuple(which, fc.constantFrom(...styles)).map(([q, style]) =>
    command(`read a line ${style} of ${q}`, ({ bytes }, { queues }) => {
      const line = queues[q].readLine(style)
      const found = patterns[style].exec(text(bytes[q]))
      expect(line?.toString('latin1')).toBe(found === null ? undefined : text(bytes[q].slice(0, found.index)))
      if (found !== null) bytes[q].splice(0, found.index + found[0].length)
    }),
  ),
  fc.tuple(which, bytes, count, fc.option(count)).map(([q, b, from, to]) =>
    command(`search ${b.length} bytes in ${q}`, ({ bytes }, { queues }) => {
      const within = bytes[q].slice(0, to ?? undefined)
      const expected = from > within.length ? -1 : text(within).indexOf(text(b), from)
      expect(queues[q].search(Buffer.from(b), { fromBytes: from, toBytes: to ?? undefined })).toBe(expected)
    }),
  ),
  fc.tuple(which, fc.nat(3000), fc.integer({ min: 1, max: 6 })).map(([q, at, length]) =>
    command(`find ${length} bytes of ${q} again`, ({ bytes }, { queues }) => {
      const start = bytes[q].length === 0 ? 0 : at % bytes[q].length
      const needle = bytes[q].slice(start, start + length)
      const end = start + needle.length
      expect(queues[q].search(Buffer.from(needle), { fromBytes: start, toBytes: end })).toBe(start)
      expect(queues[q].search(Buffer.from(needle))).toBe(text(bytes[q]).indexOf(text(needle)))
      if (needle.length > 0)
        expect(queues[q].search(Buffer.from(needle), { fromBytes: start, toBytes: end - 1 })).toBe(-1)
    }),
  ),
  fc.tuple(which, count).map(([q, at]) =>
    command(`byte ${at} of ${q}`, ({ bytes }, { queues }) => {
      expect(queues[q].byteAt(at)).toBe(bytes[q][at])
      expect([...queues[q]].reduce((sum, view) => sum + view.length, 0)).toBe(bytes[q].length)
    }),
  ),
]

describe('a ByteQueue under random operations', () => {
  it('holds what an array would hold, tells every change, and releases what was lent exactly once', () => {
    fc.assert(
      fc.property(fc.commands(commands, { maxCommands: 80, size: 'max' }), (sequence) => {
        const { model, real } = setup()
        fc.modelRun(() => ({ model, real }), sequence)
        for (const queue of real.queues) queue.clear()
        expect(model.lent.map(({ released }) => released)).toEqual(model.lent.map(() => 1))
        // Memory of queues that have gone may be used again, but not under the eyes of those who hold a view.
        for (const size of [1000, 4000, 16_000, 64_000]) {
          const others = Array.from({ length: 8 }, () => new ByteQueue())
          for (const other of others) other.append(Buffer.alloc(size, 0xaa))
          for (const other of others) other.clear()
        }
        for (const { view, copy } of model.views) expect([...view]).toEqual(copy)
      }),
      { numRuns: 150 },
    )
  }, 60_000)
})
