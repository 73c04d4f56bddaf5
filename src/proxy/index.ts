// What users import as `sluice/proxy`.

export {
  defineProxy,
  type NamedNetworks,
  type ProxyClientTlsOptions,
  type ProxyConfig,
  type ProxyExchangeOptions,
  type ProxyListenerOptions,
  type ProxyNetworksOptions,
  type ProxyRates,
  type ProxyRedisOptions,
  type ProxyRoute,
  type ProxyRule,
  type ProxySendChoice,
  type ProxyServerOptions,
  type ProxyStatsOptions,
  type ProxyTableOptions,
  type ProxyTlsOptions,
  type ProxyUpstreamOptions,
  type TlsFiles,
} from './config.js'
export { loadConfig } from './load-config.js'
export { type ProxyPlan, planOf } from './plan.js'
export { prometheusText } from './prometheus.js'
export { type ProxyEvents, ProxyServer } from './proxy-server.js'
export type {
  ProxyCertificate,
  ProxyExchangeStats,
  ProxyListenerStats,
  ProxyStats,
  ProxyTableStats,
  ProxyUpstreamStats,
} from './stats-types.js'
