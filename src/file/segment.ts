import { close, fstat, open, read, readSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { promisify } from 'node:util'
import { SluiceError } from '../errors.js'
import { boolean, expected, integer, optional, parse, type Shape } from '../options.js'

/** Which part of a file a {@link FileSegment} is. */
export interface FileSegmentOptions {
  /** Where it begins in the file. Default 0. */
  offsetBytes?: number
  /** How long it is. Default: to the end of the file as it is now. */
  lengthBytes?: number
}

/** The same, of a file that is open already. */
export interface OpenFileSegmentOptions extends FileSegmentOptions {
  /** Closes the descriptor or handle with the segment, and also if it cannot be made. Default false. */
  closeFile?: boolean
}

/** A part of a {@link FileSegment}. */
export interface FileRange {
  /** Where it begins, counted from the segment's own begin. Default 0. */
  fromBytes?: number
  /** How long it is. Default: to the end of the segment. */
  lengthBytes?: number
}

const fileRange = {
  fromBytes: optional(integer({ min: 0 })),
  lengthBytes: optional(integer({ min: 0 })),
} satisfies Shape<FileRange>

const segmentOptions = {
  offsetBytes: integer({ min: 0, default: 0 }),
  lengthBytes: optional(integer({ min: 0 })),
} satisfies Shape<FileSegmentOptions>
const openSegmentOptions = {
  ...segmentOptions,
  closeFile: boolean({ default: false }),
} satisfies Shape<OpenFileSegmentOptions>

const openFile = promisify(open)
const statFile = promisify(fstat)
const readFile = promisify(read)

/**
 * A part of a file that any number of connections may send, any number of times, without its bytes passing through
 * JavaScript; see `Connection.writeFile()`. The file must not become shorter meanwhile. Source: LE-110.
 */
export class FileSegment implements Disposable {
  // One for the user, and one for each time that it is being sent.
  private references = 1
  private isClosed = false

  private constructor(
    /** @internal */ readonly fd: number,
    /** Where it begins in the file. */
    readonly offsetBytes: number,
    /** How long it is. */
    readonly sizeBytes: number,
    private readonly release: () => void,
  ) {}

  /**
   * Opens a file.
   *
   * @throws {SluiceError} `ERR_SLUICE_FILE_FAILED` when it cannot be opened or is shorter than that; `cause` says why.
   */
  static async open(path: string, options?: FileSegmentOptions): Promise<FileSegment> {
    const range = parse(segmentOptions, options)
    let fd: number
    try {
      fd = await openFile(path, 'r')
    } catch (cause) {
      throw new SluiceError('FILE_FAILED', { detail: `cannot open the file: ${(cause as Error).message}`, cause })
    }
    return FileSegment.make(fd, range, () => closeQuietly(fd), true)
  }

  /**
   * Takes a file that is open for reading. Its position does not matter and does not change.
   *
   * @throws {SluiceError} `ERR_SLUICE_FILE_FAILED` when it is no file or shorter than that.
   */
  static async of(file: number | FileHandle, options?: OpenFileSegmentOptions): Promise<FileSegment> {
    const { closeFile, ...range } = parse(openSegmentOptions, options)
    const fd = typeof file === 'number' ? file : file?.fd
    if (!Number.isInteger(fd) || fd < 0) {
      throw new SluiceError('INVALID_ARGUMENT', { detail: 'FileSegment.of() takes a descriptor or a FileHandle' })
    }
    const release = () => {
      if (!closeFile) return
      if (typeof file === 'number') closeQuietly(file)
      else file.close().catch(() => {})
    }
    return FileSegment.make(fd, range, release, closeFile)
  }

  private static async make(
    fd: number,
    { offsetBytes, lengthBytes }: { offsetBytes: number; lengthBytes?: number | undefined },
    release: () => void,
    isOwner: boolean,
  ): Promise<FileSegment> {
    try {
      const stats = await statFile(fd)
      if (!stats.isFile()) throw new SluiceError('FILE_FAILED', { detail: 'only regular files can be sent' })
      const sizeBytes = lengthBytes ?? Math.max(0, stats.size - offsetBytes)
      if (offsetBytes + sizeBytes > stats.size) {
        const detail = `the file has ${stats.size} bytes, and ends before ${offsetBytes} + ${sizeBytes}`
        throw new SluiceError('FILE_FAILED', { detail })
      }
      return new FileSegment(fd, offsetBytes, sizeBytes, release)
    } catch (cause) {
      if (isOwner) release()
      if (cause instanceof SluiceError) throw cause
      throw new SluiceError('FILE_FAILED', { detail: `cannot look at the file: ${(cause as Error).message}`, cause })
    }
  }

  /** It is not sent any more from now on; where it is being sent, that goes on, and the file stays open until then. */
  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.drop()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** @internal @throws {SluiceError} `ERR_SLUICE_FILE_FAILED`, also when the file has become too short. */
  readSync(fromBytes: number, lengthBytes: number): Buffer {
    const bytes = Buffer.allocUnsafeSlow(lengthBytes)
    let have = 0
    try {
      while (have < lengthBytes) {
        const count = readSync(this.fd, bytes, have, lengthBytes - have, this.offsetBytes + fromBytes + have)
        if (count === 0) throw new SluiceError('FILE_FAILED', { detail: 'the file has become too short' })
        have += count
      }
    } catch (cause) {
      if (cause instanceof SluiceError) throw cause
      throw new SluiceError('FILE_FAILED', { detail: `cannot read the file: ${(cause as Error).message}`, cause })
    }
    return bytes
  }

  /** @internal The same without holding up others; gives less only at the end of what `lengthBytes` means. */
  async read(fromBytes: number, lengthBytes: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafeSlow(lengthBytes)
    let have = 0
    try {
      while (have < lengthBytes) {
        const position = this.offsetBytes + fromBytes + have
        const { bytesRead } = await readFile(this.fd, bytes, have, lengthBytes - have, position)
        if (bytesRead === 0) throw new SluiceError('FILE_FAILED', { detail: 'the file has become too short' })
        have += bytesRead
      }
    } catch (cause) {
      if (cause instanceof SluiceError) throw cause
      throw new SluiceError('FILE_FAILED', { detail: `cannot read the file: ${(cause as Error).message}`, cause })
    }
    return bytes
  }

  /** @internal The part that `range` means. @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION` when there is none. */
  partOf(range: FileRange): { fromBytes: number; lengthBytes: number } {
    const { fromBytes = 0, lengthBytes = this.sizeBytes - fromBytes } = parse(fileRange, range)
    if (fromBytes > this.sizeBytes) throw expected(`at most ${this.sizeBytes}`, fromBytes, 'fromBytes')
    const rest = this.sizeBytes - fromBytes
    if (lengthBytes > rest) throw expected(`at most ${rest}`, lengthBytes, 'lengthBytes')
    return { fromBytes, lengthBytes }
  }

  /** @internal @throws {SluiceError} when it is closed. */
  requireOpen(): void {
    if (this.isClosed) throw new SluiceError('CLOSED', { phase: 'write', detail: 'the file segment is closed' })
  }

  /** @internal Keeps the file open until {@link drop}. */
  take(): void {
    this.references++
  }

  /** @internal Undoes {@link take}. */
  drop(): void {
    if (--this.references === 0) this.release()
  }
}

function closeQuietly(fd: number): void {
  close(fd, () => {})
}
