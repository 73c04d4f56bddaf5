import type { SluiceError } from '../errors.js'
import { partsAhead } from './answer-desk.js'
import { messageError } from './failure.js'
import type { Completion, Outgoing } from './outgoing.js'

/** The parts of an answer, for whoever iterates over them. Takes no more than it has room for: the sender waits. */
export class PartQueue<Part> implements AsyncIterableIterator<Part>, Completion {
  private readonly parts: Part[] = []
  private taken = 0
  private error: SluiceError | undefined
  private isOver = false
  private waiting: { resolve: (result: IteratorResult<Part>) => void; reject: (error: SluiceError) => void } | undefined
  /** Stops the request. */
  withdraw: (error: SluiceError) => void = () => {}
  /** Lets the peer send so many parts more. */
  allow: (parts: number) => void = () => {}

  /** One has come in. */
  push(part: Part): void {
    const { waiting } = this
    if (waiting === undefined) {
      this.parts.push(part)
      return
    }
    this.waiting = undefined
    this.took()
    waiting.resolve({ done: false, value: part })
  }

  completed(_outgoing: Outgoing, error: SluiceError | undefined): void {
    this.isOver = true
    this.error = error
    const { waiting } = this
    this.waiting = undefined
    if (error === undefined) waiting?.resolve({ done: true, value: undefined })
    else waiting?.reject(this.takeError()!)
  }

  next(): Promise<IteratorResult<Part>> {
    if (this.parts.length > 0) {
      const value = this.parts.shift() as Part
      this.took()
      return Promise.resolve({ done: false, value })
    }
    const error = this.takeError()
    if (error !== undefined) return Promise.reject(error)
    if (this.isOver) return Promise.resolve({ done: true, value: undefined })
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject }
    })
  }

  /** Who leaves the loop early does not want the rest. */
  return(): Promise<IteratorResult<Part>> {
    this.parts.length = 0
    if (!this.isOver) this.withdraw(messageError('MESSAGE_CANCELED'))
    this.error = undefined
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  // Half of what may be under way at a time.
  private took(): void {
    this.taken++
    if (this.taken < partsAhead / 2) return
    this.allow(this.taken)
    this.taken = 0
  }

  private takeError(): SluiceError | undefined {
    const { error } = this
    this.error = undefined
    return error
  }
}
