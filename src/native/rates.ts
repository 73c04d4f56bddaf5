// Rate limits: native/limit/ as the addon shows it.

/** Bytes per tick; a direction without a rate has no limit. */
export interface NativeRateLimit {
  readRate?: number
  readBurst?: number
  writeRate?: number
  writeBurst?: number
  tickMs: number
}

/** Handles; opaque. */
export type NativeRateGroup = object
export type NativeRateGroupMap = object

/** How a connection stands; a level or allowance without a limit is the largest number of native code. */
export interface NativeRateStanding {
  readLevel: number
  writeLevel: number
  maxToRead: number
  maxToWrite: number
  readHeldByLimit: boolean
  readHeldByGroup: boolean
  writeHeldByLimit: boolean
  writeHeldByGroup: boolean
}

export interface NativeRateGroupStats {
  members: number
  readLevel: number
  writeLevel: number
  totalRead: number
  totalWritten: number
  readPerSecond: number
  writtenPerSecond: number
  waitingToRead: number
  waitingToWrite: number
  /** 1 while members are served in turn. */
  readScarce: number
  writeScarce: number
  tick: number
  refills: number
  minShare: number
}
