/** What messages tell of; docs/messages.md has their table. */
export const messageErrors = {
  MESSAGE_CONNECTION: {
    meaning: 'the connection was lost before the message was done',
    advice:
      'It may have been handled or not. What may be handled twice can be sent as `idempotent`: it is then resent.',
  },
  MESSAGE_CANCELED: {
    meaning: 'the message was canceled',
    advice: 'Its `signal` was aborted; `cause` holds the reason given. The peer is told if it had begun to receive it.',
  },
  MESSAGE_CANCELED_BY_PEER: {
    meaning: 'the peer canceled the message',
    advice: 'It does not want the message, or the answer to its request, any more.',
  },
  MESSAGE_TIMEOUT: {
    meaning: 'the message was not done in time',
    advice: '`timeoutMs` of the message is over; it may have been handled or not.',
  },
  MESSAGE_QUEUE_FULL: {
    meaning: 'the queue of the destination is full',
    advice:
      'Nothing was sent. Wait for messages that are under way; `maxQueuedMessages` and `maxQueuedBytes` are the bounds.',
  },
  MESSAGE_NOT_CONNECTED: {
    meaning: 'no connection was there for a one-shot message',
    advice: 'Nothing was sent. Without `oneShot` a message waits until there is a connection.',
  },
  MESSAGE_UNKNOWN_TYPE: {
    meaning: 'the peer does not know this type of message',
    advice:
      'Its service lacks the protocol, has another version of it, or no message of that name. The text tells which.',
  },
  MESSAGE_NO_HANDLER: {
    meaning: 'nobody handles this type of message there',
    advice: 'The service of the peer knows the type, but `handle()` was not called for its protocol.',
  },
  MESSAGE_NOT_ACTIVE: {
    meaning: 'the connection is not active yet',
    advice: 'Authenticate first: only types of `beforeActivation` are taken before `activate()`.',
  },
  MESSAGE_TOO_LARGE: {
    meaning: 'the message is too large',
    advice:
      '`maxMessageBytes` of the receiver is the bound, `maxStrangerMessageBytes` before activation; send a stream.',
  },
  MESSAGE_CODEC: {
    meaning: 'a value could not be encoded or decoded',
    advice: '`cause` is what the codec threw. Both sides must define the type with the same codec.',
  },
  MESSAGE_HANDLER_FAILED: {
    meaning: 'the handler of the peer failed',
    advice: 'Its service tells what was thrown as `handlerError`. Throw a `MessageError` to tell the peer more.',
  },
  MESSAGE_REFUSED: {
    meaning: 'the handler of the peer refused the message',
    advice: 'It threw a `MessageError`, which is the `cause`, with its `code` and text.',
  },
  MESSAGE_POOL_CLOSED: {
    meaning: 'the pool is closed',
    advice: '`close()` or `destroy()` was called for it or its service; nothing more can be sent.',
  },
  MESSAGE_TOO_MANY_POOLS: {
    meaning: 'there are too many pools',
    advice: '`maxPools` of the service is the bound. Close pools that are not needed.',
  },
  MESSAGE_TOO_MANY_CONNECTIONS: {
    meaning: 'too many connections are active',
    advice: '`maxConnections` of the service at the other end is the bound.',
  },
  MESSAGE_INVALID_PACKET: {
    meaning: 'the peer sent an invalid packet',
    advice: 'It does not speak this protocol (docs/wire-format.md), or bytes were lost. The connection is closed.',
  },
  MESSAGE_INVALID_COMMAND: {
    meaning: 'the peer sent an invalid command',
    advice: 'As for an invalid packet; the text tells what is wrong.',
  },
  MESSAGE_INVALID_STATE: {
    meaning: 'that is not possible in this state of the connection',
    advice: 'See the states of a connection in docs/messages.md. What the peer does out of turn closes the connection.',
  },
  MESSAGE_TOO_MANY_SLOTS: {
    meaning: 'the peer sends too many messages at once',
    advice: 'It does not keep to what was agreed on. The connection is closed.',
  },
  MESSAGE_FLOW: {
    meaning: 'the peer sent more than it was allowed to',
    advice: 'It does not keep to the windows of its messages. The connection is closed.',
  },
  MESSAGE_VERSION: {
    meaning: 'the two sides have no protocol in common',
    advice:
      'Neither speaks a version of the wire format, or of any protocol, that the other knows. The text lists them.',
  },
  MESSAGE_COMPRESSION_UNAVAILABLE: {
    meaning: 'the peer sent a compressed packet that cannot be read here',
    advice: 'Nothing of the sort was agreed on. The connection is closed.',
  },
  MESSAGE_COMPRESSION_FAILED: {
    meaning: 'a compressed packet is corrupt or too large',
    advice: 'A packet holds at most 65 536 bytes when decompressed. The connection is closed.',
  },
  MESSAGE_TOO_MANY_KEEPALIVES: {
    meaning: 'the peer sends too many keep-alives',
    advice: 'Its `keepAliveMs` is shorter than `maxKeepAlives` in `keepAliveIntervalMs` of the server allows.',
  },
  MESSAGE_INACTIVE: {
    meaning: 'the peer was silent for too long',
    advice: '`inactivityTimeoutMs` is over, or `activationTimeoutMs` before the connection was active.',
  },
  MESSAGE_NO_TLS: {
    meaning: 'one side has no TLS to start',
    advice: 'Give `tls` options to the service that is asked to secure a connection.',
  },
  MESSAGE_CLOSED_BY_PEER: {
    meaning: 'the peer closed the connection for a reason of its own',
    advice: 'The text is what it said.',
  },
} as const
