import { integer } from '../options.js'

const groupNumber = integer({ min: 0, max: 4_294_967_295 })
const replicaNumber = integer({ min: 0, max: 65_535 })

/** Whom a message is for, behind a relay. */
export interface RelayTarget {
  /** 0 to 4 294 967 295. */
  group: number
  /** 1 to 65 535; 0, the default, is any of the group, in turn. */
  replica?: number
}

/** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`. */
export function checkRelayTarget(value: unknown, option: string): void {
  const { group, replica = 0 } = (value ?? {}) as Partial<RelayTarget>
  groupNumber.parse(group, `${option}.group`)
  replicaNumber.parse(replica, `${option}.replica`)
}
