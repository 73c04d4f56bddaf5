import { chmodSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'
import type { Connection } from './connection.js'
import { nativeError, SluiceError } from './errors.js'
import type { Listener } from './listener.js'
import { isFailure, native } from './native/binding.js'
import type { Runtime } from './runtime.js'

/** A listening socket that changes hands. */
export interface PassedSocket {
  /** What both sides call it. */
  name: string
  /** The descriptor; it belongs to the receiver. */
  fd: number
}

const protocol = 'sluice-hand-over 1'
const longestWord = 64

/**
 * Offers listening sockets to a successor, at a Unix socket that only this user may use. Who connects there gets copies of
 * all sockets, so that none of them ever closes, and says when it serves them. Source: HP-130.
 */
export class HandOverOffer {
  private constructor(private readonly listener: Listener) {}

  /**
   * @param path of a file: whoever runs on the machine may connect to an abstract socket.
   * @param sockets asked for each successor anew.
   * @param taken called once, when a successor serves them: this process has to accept no more.
   * @throws {SluiceError} of `listen()`.
   */
  static async make(
    runtime: Runtime,
    path: string,
    sockets: () => { name: string; listener: Listener }[],
    taken: () => void,
  ): Promise<HandOverOffer> {
    let isTaken = false
    const listening = forOwnUser(() =>
      runtime.listen<string>(
        { path, readTimeoutMs: 60_000 },
        {
          open(connection) {
            connection.data = ''
            pass(connection, sockets())
          },
          data(connection, bytes) {
            connection.data += Buffer.from(bytes).toString('latin1')
            if (connection.data.length > longestWord) connection.destroy()
            if (connection.data !== 'ready\n' || isTaken) return
            isTaken = true
            taken()
            connection.end('bye\n')
          },
          error() {}, // it may try again
        },
      ),
    )
    const listener = await listening
    chmodSync(path, 0o600)
    return new HandOverOffer(listener)
  }

  /** Offers them no more, and removes the path. */
  close(): Promise<void> {
    return this.listener.destroy()
  }
}

// Whoever can connect gets the sockets, so nobody else may from the first moment on: a path is bound before listen() returns.
// Worker threads may not set the mask; there it is done afterwards.
function forOwnUser<T>(bind: () => T): T {
  if (!isMainThread) return bind()
  const mask = process.umask(0o177)
  try {
    return bind()
  } finally {
    process.umask(mask)
  }
}

function pass(connection: Connection<string>, sockets: { name: string; listener: Listener }[]): void {
  const copies: number[] = []
  try {
    for (const { listener } of sockets) copies.push(listener.duplicateSocket())
    const text = JSON.stringify({ protocol, pid: process.pid, names: sockets.map(({ name }) => name) })
    const socket = connection.channel.native.connectionFd(connection.slot, connection.tag)
    const failure = native.passDescriptors(socket, copies, text)
    if (failure !== undefined) connection.destroy(nativeError(failure))
  } catch (error) {
    connection.destroy(error as SluiceError)
  } finally {
    for (const copy of copies) native.closeDescriptor(copy)
  }
}

/** What a predecessor has handed over. */
export class HandOver {
  private constructor(
    /** The sockets. Those that are not taken are closed by `ready()`. */
    readonly sockets: PassedSocket[],
    /** The predecessor's process. */
    readonly pid: number,
    private readonly connection: Connection,
  ) {}

  /**
   * Takes over from whoever offers at `path`; undefined when nobody is there. Waits for it and holds up all else meanwhile, as
   * this is what a process begins with.
   *
   * @throws {SluiceError} when somebody is there and does not hand over.
   */
  static take(runtime: Runtime, path: string, timeoutMs: number): HandOver | undefined {
    const answer = native.takeDescriptors(path, timeoutMs)
    if (isFailure(answer)) {
      if (['NOT_FOUND', 'CONNECTION_REFUSED'].includes(answer.codeName)) return undefined
      throw nativeError({ ...answer, phase: 'listen', address: path })
    }
    const { socket, descriptors, text } = answer
    try {
      const told = JSON.parse(text) as { protocol: string; pid: number; names: string[] }
      if (told.protocol !== protocol || told.names.length !== descriptors.length) throw new Error('another protocol')
      const sockets = told.names.map((name, i) => ({ name, fd: descriptors[i]! }))
      return new HandOver(sockets, told.pid, runtime.adopt({ fd: socket }, { error() {} }))
    } catch (cause) {
      for (const descriptor of [socket, ...descriptors]) native.closeDescriptor(descriptor)
      throw new SluiceError('INVALID_ARGUMENT', {
        ...{ phase: 'listen', address: path, cause },
        detail: 'who offers sockets there is no sluice of this kind',
      })
    }
  }

  /** The socket of that name, if it was handed over; it belongs to the caller then. */
  claim(name: string): number | undefined {
    const index = this.sockets.findIndex((socket) => socket.name === name)
    return index < 0 ? undefined : this.sockets.splice(index, 1)[0]!.fd
  }

  /** Tells the predecessor to accept no more. Resolves when it has heard that. */
  async ready(): Promise<void> {
    for (const { fd } of this.sockets.splice(0)) native.closeDescriptor(fd)
    this.connection.write('ready\n')
    await new Promise<void>((resolve) => this.connection.whenClosed(() => resolve()))
  }

  /** Goes away without having served: the predecessor goes on. */
  abandon(): void {
    for (const { fd } of this.sockets.splice(0)) native.closeDescriptor(fd)
    this.connection.destroy()
  }
}
