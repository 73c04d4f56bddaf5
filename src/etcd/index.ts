// What users import as `sluice/etcd`.

export type { EtcdEvents, EtcdOptions } from './etcd-options.js'
export { type EtcdRegistration, type RegistrationOptions, registerService } from './etcd-registration.js'
export { EtcdResolver, etcdResolver } from './etcd-resolver.js'
