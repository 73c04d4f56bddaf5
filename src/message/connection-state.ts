/**
 * Where a connection of messages is in its life (SF-50…54):
 *
 *   raw ──leaveRaw()──▶ greeting ──the peer's hello──▶ inactive ──activate()──▶ active
 *                          every state ──close(), goodbye──▶ closing ──▶ closed
 *
 * - raw: bytes go to the user as they are, and no packets.
 * - greeting: our hello is on its way, the peer's is not here. A connection that is not raw begins here.
 * - inactive: to get to know each other. Messages of this connection alone may be sent, and types that are allowed
 *   `beforeActivation` are taken.
 * - active: everything.
 * - closing: nothing new begins; what has begun goes on.
 *
 * Whether it is secure is a matter of its own: TLS may begin in raw, inactive and active.
 */
export type MessageConnectionState = 'raw' | 'greeting' | 'inactive' | 'active' | 'closing' | 'closed'

const mayMove: Record<MessageConnectionState, readonly MessageConnectionState[]> = {
  raw: ['greeting', 'closing', 'closed'],
  greeting: ['inactive', 'closing', 'closed'],
  inactive: ['active', 'closing', 'closed'],
  active: ['closing', 'closed'],
  closing: ['closed'],
  closed: [],
}

/** Whether a connection may go from one state to another. */
export function mayMoveTo(from: MessageConnectionState, to: MessageConnectionState): boolean {
  return mayMove[from].includes(to)
}
