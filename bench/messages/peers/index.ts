import type { Peer } from '../peer.js'

/** Everything that can be measured, by name: what its module needs is loaded with it. */
export const peerModules: Readonly<Record<string, () => Promise<{ peer: Peer }>>> = {
  sluice: () => import('./sluice.js'),
  raw: () => import('./raw.js'),
  zeromq: () => import('./zeromq.js'),
  grpc: () => import('./grpc.js'),
  json: () => import('./newline-json.js'),
}
