import type { SluiceError } from '../errors.js'
import { failureBody } from './answer.js'
import { MessageContext } from './context.js'
import { messageError } from './failure.js'
import { awaitsAnswer, isFailureAnswer, type MessageHeader } from './header.js'
import type { MessageConnection } from './message-connection.js'
import type { IncomingBody } from './message-reader.js'
import { type Completion, Outgoing } from './outgoing.js'
import { RelayedBody } from './relayed-body.js'
import { withdraw } from './sender.js'

const normalLevel = 1
/** What a connection asks of a relay. */
export interface RelayDesk {
  /** A whole message for somebody else. */
  message(from: MessageConnection, header: MessageHeader, body: Uint8Array): void
  /** One that comes in pieces. */
  begin(from: MessageConnection, header: MessageHeader, slot: number, round: number): IncomingBody | undefined
}

/** The answer to a relayed request: it goes back the way that the request came, as it is. */
export class RelayedRequest implements Completion {
  /** Ours, to the peer that it is for. */
  outgoing: Outgoing | undefined

  constructor(
    private readonly asker: MessageConnection,
    /** The peer's; undefined for what has no answer. */
    private readonly context: MessageContext | undefined,
  ) {}

  /** A whole answer. `flags` are those of its header. */
  answer(flags: number, body: Uint8Array): void {
    if (this.context !== undefined) this.asker.answers.forward(this.context, flags, Buffer.from(body))
  }

  /** An answer that comes in pieces. */
  beginAnswer(from: MessageConnection, header: MessageHeader, slot: number, round: number): IncomingBody | undefined {
    if (this.context === undefined) return undefined
    const body = new RelayedBody(from, slot, round)
    this.asker.answers.forward(this.context, header.flags, body, header.sizeBytes)
    return body
  }

  completed(_outgoing: Outgoing, error: SluiceError | undefined): void {
    if (error === undefined || this.context === undefined) return
    this.asker.answers.forward(this.context, isFailureAnswer, Buffer.from(failureBody(error)))
  }
}

/** Passes messages on between the connections of a service that have registered, without looking at their bodies. */
export class Relay implements RelayDesk {
  private readonly groups = new Map<number, { connection: MessageConnection; replica: number }[]>()
  private next = 0
  /** Messages passed on. */
  relayed = 0

  /** Makes a connection one of a group, until it is gone; another one of the same number takes its place. */
  register(connection: MessageConnection, group: number, replica: number): void {
    const members = this.groups.get(group) ?? []
    this.groups.set(group, [
      ...members.filter((member) => member.connection !== connection && (replica === 0 || member.replica !== replica)),
      { connection, replica },
    ])
    connection.whenGone(() => {
      const left = (this.groups.get(group) ?? []).filter((member) => member.connection !== connection)
      if (left.length === 0) this.groups.delete(group)
      else this.groups.set(group, left)
    })
  }

  private find(group: number, replica: number): MessageConnection | undefined {
    const members = (this.groups.get(group) ?? []).filter(
      ({ connection, replica: own }) =>
        connection.state === 'active' && !connection.isLeaving && (replica === 0 || own === replica),
    )
    // Those that take no more only if all are so.
    const able = members.filter(({ connection }) => connection.canTakeRelayed)
    const { length } = able.length > 0 ? able : members
    return length === 0 ? undefined : (able[this.next++ % length] ?? members[0]!).connection
  }

  message(from: MessageConnection, header: MessageHeader, body: Uint8Array): void {
    this.pass(from, header, Buffer.from(body))
  }

  begin(from: MessageConnection, header: MessageHeader, slot: number, round: number): IncomingBody | undefined {
    const body = new RelayedBody(from, slot, round)
    return this.pass(from, header, body) ? body : undefined
  }

  // Answers whether it goes on.
  private pass(from: MessageConnection, header: MessageHeader, body: Uint8Array | RelayedBody): boolean {
    const { group, replica, flags, index, unique, deadlineMs, trace } = header
    const type = from.owner.types[header.type]
    if (type === undefined) throw messageError('MESSAGE_UNKNOWN_TYPE', `number ${header.type}`)
    const to = this.find(group, replica)
    if (to === undefined || !to.canTakeRelayed) {
      const who = `replica ${replica} of group ${group}`
      const why = to === undefined ? `${who} is not registered` : `${who} takes no more`
      from.answers.refuse(header, messageError(to === undefined ? 'MESSAGE_NOT_CONNECTED' : 'MESSAGE_QUEUE_FULL', why))
      return false
    }
    this.relayed++
    const isAsked = (flags & awaitsAnswer) !== 0
    const context = isAsked
      ? new MessageContext(from, type.message, flags, index, unique, deadlineMs, undefined)
      : undefined
    const relayed = new RelayedRequest(from, context)
    const outgoing = new Outgoing(type.message, body, normalLevel, true, relayed)
    Object.assign(outgoing, { flags, group, replica, deadlineMs, trace, sizeBytes: header.sizeBytes, relayed })
    relayed.outgoing = outgoing
    if (context !== undefined) {
      from.answers.enter(context)
      context.onCancel = (error) => withdraw(outgoing, error)
      context.onAllowParts = (parts) => outgoing.holder?.allowParts(outgoing, parts)
    }
    if (body instanceof RelayedBody) body.onAbort = (error) => withdraw(outgoing, error)
    to.take(outgoing)
    return true
  }
}
