import type { FileSegment } from '../file/segment.js'

/** Memory that segments of one or several queues share; goes when the last of them has gone. */
export class Chunk {
  /** How many segments and borrowers there are. */
  references = 1
  /** Up to here somebody's bytes lie; whoever ends exactly here may go on. −1 in memory that is not ours. */
  filled: number
  /** Somebody outside may hold a view of it, so its bytes are never overwritten, not even after they have left. */
  exposed = false

  constructor(
    readonly memory: Buffer,
    /** Which free list it goes back to; −1 for none. */
    private readonly sizeClass: number,
    /** Told once, when the memory is not needed any more. */
    readonly release: (() => void) | undefined,
  ) {
    this.filled = sizeClass === foreign ? -1 : 0
  }

  /** Whether what lies before the bytes of its only segment may be overwritten. */
  get isExclusive(): boolean {
    return this.references === 1 && !this.exposed && this.sizeClass !== foreign
  }

  /**
   * One reference less. @returns the release callback if that was the last one; to be called when the queue is
   * consistent again.
   */
  drop(): (() => void) | undefined {
    if (--this.references !== 0) return undefined
    if (this.sizeClass >= 0 && !this.exposed) {
      const list = free[this.sizeClass]!
      if (list.length < freeLimits[this.sizeClass]!) {
        this.filled = 0
        list.push(this)
      }
    }
    return this.release
  }
}

/** A part of a file in place of memory: read when somebody looks at it, and not if it is only sent. */
export class FileChunk extends Chunk {
  constructor(
    readonly file: FileSegment,
    /** Where it begins, counted from the segment's own begin. */
    readonly fromBytes: number,
    lengthBytes: number,
  ) {
    super(noMemory, foreign, () => file.drop())
    file.take()
    let memory: Buffer | undefined
    Object.defineProperty(this, 'memory', {
      get: () => {
        memory ??= file.readSync(fromBytes, lengthBytes)
        return memory
      },
    })
  }
}

/** A stretch of a chunk, part of one queue. */
export class Segment {
  next: Segment | undefined = undefined

  constructor(
    readonly chunk: Chunk,
    public start: number,
    public end: number,
  ) {}
}

// The global one is a getter, which would take as long as all the rest of an appendReference().
const OwnBuffer = Buffer
const foreign = -2
const noMemory = OwnBuffer.alloc(0)
const single = -1
const sizes = [1024, 4096, 16_384, 65_536]
const freeLimits = [256, 128, 64, 32]
const free: Chunk[][] = [[], [], [], []]
const largest = sizes[sizes.length - 1]!

/**
 * Own memory of at least `neededBytes`. A queue that holds much gets large chunks, an almost empty one a small chunk:
 * what is allocated is at most in proportion to what is queued.
 */
export function allocate(neededBytes: number, queuedBytes: number): Chunk {
  const wanted = Math.max(neededBytes, Math.min(4 * queuedBytes, largest))
  if (wanted > largest) return new Chunk(Buffer.allocUnsafeSlow(wanted), single, undefined)
  let sizeClass = 0
  while (sizes[sizeClass]! < wanted) sizeClass++
  const known = free[sizeClass]!.pop()
  if (known !== undefined) {
    known.references = 1
    return known
  }
  return new Chunk(Buffer.allocUnsafeSlow(sizes[sizeClass]!), sizeClass, undefined)
}

/** Memory of somebody else, used where it is. */
export function foreignChunk(bytes: Uint8Array, release: (() => void) | undefined): Chunk {
  const memory = bytes instanceof OwnBuffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  return new Chunk(memory, foreign, release)
}
