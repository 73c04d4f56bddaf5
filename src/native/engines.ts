// What is known of engines.

export interface NativeEngineInfo {
  name: string
  available: boolean
  reason: string
  features: NativeEngineFeatures
}

export interface NativeEngineFeatures {
  wakeStyle: 'descriptor' | 'thread' | 'virtual time'
  virtualClock: boolean
  batchedSubmission: boolean
  multishotAccept: boolean
  multishotReceive: boolean
  incrementalBuffers: boolean
  limitedReceives: boolean
  unixSockets: boolean
  sendsFiles: boolean
}
