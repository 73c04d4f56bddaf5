// What users import.

export type { ChangeHook, ChangeHookOptions, QueueChange } from './byte-queue/change-hooks.js'
export { ByteQueue, type QueueEnd, type SearchRange } from './byte-queue/queue.js'
export type { EndOfLine, EndOfLinePosition } from './byte-queue/search.js'
export type { ConnectOptions } from './connect-options.js'
export type { Connection } from './connection.js'
export type {
  ConnectionState,
  ConnectionStats,
  RuleEndpoint,
  RuleLogEntry,
  RuleMarks,
  ShutdownOutcome,
  TcpInfo,
} from './connection-facts.js'
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

export {
  type AcceptNetscalerOptions,
  type AcceptProxyOptions,
  acceptNetscaler,
  acceptProxy,
  type HeaderSources,
  type MonitorOptions,
  monitor,
  type SniffOptions,
  sniff,
} from './handshake/accept-steps.js'
export type { ConnectShorthand, SocksServer } from './handshake/connect-shorthand.js'
export { type Socks4Options, type Socks5Options, sendProxy, socks4, socks5 } from './handshake/connect-steps.js'
export type { CustomStep, StepAnswer } from './handshake/custom-step.js'
export type { HandshakeOptions } from './handshake/handshake-plan.js'
export type { HandshakeStep } from './handshake/handshake-step.js'
export type { OpeningConnection } from './handshake/opening-connection.js'

export { type ProxyAddress, ProxyHeader, type ProxyLimits, type ProxyTlv } from './handshake/proxy-header.js'
export type {
  ProxySendAddress,
  ProxySendOptions,
  ProxySslFacts,
  ProxySslField,
} from './handshake/proxy-options.js'
export type { ProxySsl } from './handshake/proxy-ssl.js'

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
export { type FirstBytesRoute, Routes, type RouteTable, type RouteTarget, routes } from './routing/routes.js'
export { type CidrEntry, type CidrMatch, CidrSet } from './rules/cidr-set.js'
export type {
  CounterChoice,
  CounterComparison,
  OneOrMany,
  PortRange,
  Rule,
  RuleAction,
  RuleBase,
  RuleCondition,
  RuleFact,
  RuleNetworks,
  RuleStage,
} from './rules/rule.js'
export { RuleList, type RuleListOptions } from './rules/rule-list.js'
export type { RehearsedConnection, RuleVerdict } from './rules/rule-rehearsal.js'
export { rules } from './rules/rules-step.js'
export {
  StickTable,
  type StickTableOptions,
  type StickTableStats,
  type TableEntry,
  type TableKey,
  type TableKeyType,
  TrackedKey,
} from './rules/stick-table.js'
export {
  MemoryStickTablePeers,
  type PeerAnswer,
  type PeerChanges,
  type PeerExchange,
  type StickTablePeers,
} from './rules/stick-table-peers.js'
export type { TableCounter, TableCounters, TableRate, TableStore } from './rules/table-columns.js'
export type { TableExchangeOptions, TableExchangeStats } from './rules/table-exchange.js'
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
  WriteWaterMarks,
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
export { type SniEntry, SniPolicy, type SniPolicyOptions } from './tls/sni-policy.js'
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
