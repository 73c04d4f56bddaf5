// What users import.

export type { ChangeHook, ChangeHookOptions, QueueChange } from './byte-queue/change-hooks.js'
export { ByteQueue, type QueueEnd, type SearchRange } from './byte-queue/queue.js'
export type { EndOfLine, EndOfLinePosition } from './byte-queue/search.js'
export type { ConnectOptions } from './connect-options.js'
export type { Connection } from './connection.js'
export type { ConnectionState, ConnectionStats, ShutdownOutcome, TcpInfo } from './connection-facts.js'
export { connect, listen, pair } from './default-runtime.js'
export type { ConnectionDuplex } from './duplex.js'
export { type EngineFeatures, type EngineInfo, type EngineName, engines } from './engines.js'
export { type ErrorPhase, errorTable, SluiceError, type SluiceErrorCode } from './errors.js'
export { type FileRange, FileSegment, type FileSegmentOptions, type OpenFileSegmentOptions } from './file/segment.js'
export { brotli, type CompressionOptions, deflate, deflateRaw, gzip, zstd } from './filter/compression.js'
export type {
  Filter,
  FilterFunction,
  FilterOptions,
  FilterResult,
  FilterStep,
  FlushMode,
  TransformSource,
} from './filter/filter.js'
export { AsyncFrameReader } from './framing/async-frame-reader.js'
export { type FrameLimits, FrameReader, type LineOptions } from './framing/frame-reader.js'
export { FrameWriter, type LengthPrefix } from './framing/frame-writer.js'
export type { ConnectionHandlers, TimeoutKind } from './handlers.js'
export type { Listener, ListenerAddress, ListenerStats, ListenOptions } from './listener.js'
export type { ByteSize } from './rate-limit/byte-size.js'
export type { ConnectionRates, RateHold } from './rate-limit/connection-rates.js'
export {
  type GroupBy,
  type KeyedRateLimitChanges,
  KeyedRateLimitGroups,
  type KeyedRateLimitGroupsOptions,
} from './rate-limit/keyed-rate-limit-groups.js'
export {
  type BytesPerSecondOptions,
  type DirectionRates,
  RateLimit,
  type RateLimitOptions,
} from './rate-limit/rate-limit.js'
export {
  RateLimitGroup,
  type RateLimitGroupChanges,
  type RateLimitGroupOptions,
  type RateLimitGroupStats,
} from './rate-limit/rate-limit-group.js'
export {
  type Lease,
  type LeaseRequest,
  MemoryRateLimitStore,
  type RateLimitStore,
  type SharedRates,
} from './rate-limit/rate-limit-store.js'
export type { SharedBudget, SharedBudgetStats } from './rate-limit/shared-budget.js'
export type { ConnectionReader } from './reader.js'
export {
  Relay,
  RelayError,
  type RelayOptions,
  type RelayResult,
  type RelaySide,
  type RelayStats,
  relay,
} from './relay.js'
export type { LookupFunction, ResolvedAddress } from './resolve.js'
export { Runtime, type RuntimeStats } from './runtime.js'
export type { RuntimeOptions } from './runtime-options.js'
export type {
  AdoptOptions,
  CloseOptions,
  ConnectionOptions,
  ConnectionTimeouts,
  OperationBounds,
  PairOptions,
  ReadWaterMarks,
} from './settings.js'
export type { ShutdownOptions } from './shutdown.js'
export type { SimulationOptions } from './simulation.js'
export type { SocketOptions } from './socket-options.js'
export {
  type CertificateAndKey,
  type CertificateInfo,
  type CertificateOptions,
  type CrlOptions,
  createCertificate,
  createCrl,
  parseCertificate,
} from './tls/certificate.js'
export { TlsContext, type TlsServerNames } from './tls/context.js'
export type { TlsChannelBinding, TlsInfo } from './tls/info.js'
export { type TlsFeatures, tlsFeatures } from './tls/library.js'
export type {
  StartTlsOptions,
  StartTlsRoleOptions,
  TlsClientOptions,
  TlsEncryptedKey,
  TlsEncryptedPfx,
  TlsOptions,
  TlsPreSharedKey,
  TlsServerOptions,
  TlsVersion,
} from './tls/options.js'
export type { PemOrDer } from './tls/parsers.js'
export { createSelfSigned, type SelfSigned, type SelfSignedOptions } from './tls/self-signed.js'
export { TlsSessions } from './tls/sessions.js'
export { type TicketKeysOptions, TlsTicketKeys } from './tls/ticket-keys.js'
export { AcquisitionState, type AcquisitionStep } from './upstream/acquisition.js'
export type { BalanceMethod } from './upstream/balance.js'
export type { ReleaseOptions, UpstreamLease } from './upstream/lease.js'
export type {
  AcquireOptions,
  AgentVerdict,
  HealthCheckOptions,
  HttpCheckOptions,
  UpstreamAdminState,
  UpstreamConnectOptions,
  UpstreamDrainOptions,
  UpstreamPoolOptions,
  UpstreamServerChange,
  UpstreamServerOptions,
} from './upstream/options.js'
export { UpstreamPool } from './upstream/pool.js'
export type { UpstreamServer } from './upstream/server.js'
export type { UpstreamCheckStats, UpstreamPoolStats, UpstreamServerStats } from './upstream/stats.js'
export type { ConnectionWebStreams } from './web-streams.js'
