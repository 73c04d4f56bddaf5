// What users import.

export type { ChangeHook, ChangeHookOptions, QueueChange } from './byte-queue/change-hooks.js'
export { ByteQueue, type QueueEnd, type SearchRange } from './byte-queue/queue.js'
export type { EndOfLine, EndOfLinePosition } from './byte-queue/search.js'
export type { ConnectOptions } from './connect-options.js'
export type { Connection } from './connection.js'
export type { ConnectionState, ConnectionStats, TcpInfo } from './connection-facts.js'
export { connect, listen } from './default-runtime.js'
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
export type { ConnectionReader } from './reader.js'
export type { LookupFunction, ResolvedAddress } from './resolve.js'
export { Runtime, type RuntimeStats } from './runtime.js'
export type { RuntimeOptions } from './runtime-options.js'
export type { AdoptOptions, CloseOptions, ConnectionOptions, ConnectionTimeouts, ReadWaterMarks } from './settings.js'
export type { ShutdownOptions } from './shutdown.js'
export type { SimulationOptions } from './simulation.js'
export type { SocketOptions } from './socket-options.js'
export type { ConnectionWebStreams } from './web-streams.js'
