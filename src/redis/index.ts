// What users import as `sluice/redis`.

export type { RedisEvalClient } from './redis-connection.js'
export { RedisRateLimitStore, type RedisRateLimitStoreOptions } from './redis-rate-limit-store.js'
export { RedisStickTablePeers, type RedisStickTablePeersOptions } from './redis-stick-table-peers.js'
