// What users import as `sluice/messages`.

export {
  type AnyCodec,
  bytes,
  type Codec,
  checked,
  clone,
  empty,
  json,
  lentBytes,
  type ReceivedWith,
  type SentWith,
  utf8,
} from './codec.js'
export type { CompressionEngine } from './compression.js'
export type { MessageConnectionState } from './connection-state.js'
export type { MessageContext } from './context.js'
export type { Destination, Endpoint } from './destination.js'
export { MessageError, messageErrorAliases } from './failure.js'
export type { StreamSource } from './iterable-source.js'
export type { LatencyStats } from './latency.js'
export type { MessageConnection } from './message-connection.js'
export type { MessageOptions, Undelivered } from './message-options.js'
export type { MessageStream } from './message-stream.js'
export type { MessagePool, PoolStats } from './pool.js'
export type { PoolOptions } from './pool-options.js'
export {
  type AnswerOf,
  type AnyMessageType,
  type BodyOf,
  defineProtocol,
  type HandlerOf,
  type HandlersOf,
  type Message,
  type MessageKind,
  type OneWayType,
  oneWay,
  type PartsType,
  type Protocol,
  type ProtocolDefinition,
  parts,
  type RequestType,
  request,
} from './protocol.js'
export type { ReconnectOptions } from './reconnect.js'
export { relayProtocol } from './relay-protocol.js'
export type { RelayTarget } from './relay-target.js'
export type { EndpointLike, NameResolver } from './resolver.js'
export { type CallbackResolverOptions, callbackResolver } from './resolver-callback.js'
export { type DnsResolverOptions, dnsResolver } from './resolver-dns.js'
export { StaticResolver } from './resolver-static.js'
export type { MessageSender } from './sender.js'
export { type MessagePeerStats, MessageService, type MessageServiceStats } from './service.js'
export type { MessageEvents, MessageListenOptions, MessageServiceOptions, StartState } from './service-options.js'
export { type StreamToSend, stream } from './stream-codec.js'
export type { MessageTypeStats } from './type-counters.js'
