import type { Channel } from './channel.js'
import { type ConnectOptions, connectOptions, connectRules } from './connect-options.js'
import type { NativeFailure } from './errors.js'
import type { ConnectionHandlers } from './handlers.js'
import { connectSteps } from './handshake/connect-shorthand.js'
import { type HandshakePlan, handshakePlan } from './handshake/handshake-plan.js'
import { isFailure } from './native/binding.js'
import type { NativeConnectTemplate } from './native/channel.js'
import { type Parsed, parse } from './options.js'
import type { ResolvedAddress } from './resolve.js'
import { type ConnectionSettings, checkSizes, nativeConfigOf, nativeRatesOf, settingsOf } from './settings.js'
import { encodeSocketOptions } from './socket-options.js'
import { clientTls } from './tls/setup.js'

/** Where to connect to: an address, or the path of a Unix socket. */
export type ConnectAddress = ResolvedAddress & { path?: string }

/** Options of connect(), checked once, for any number of connections. */
export class ConnectPlan {
  readonly options: Parsed<typeof connectOptions>
  private readonly steps: HandshakePlan | undefined
  private readonly settings: ConnectionSettings
  private known: { channel: Channel; address: string; isPaused: boolean; native: NativeConnectTemplate } | undefined

  /** @throws {SluiceError} `ERR_SLUICE_INVALID_OPTION`, `ERR_SLUICE_TLS_…` naming the option. */
  constructor(input: ConnectOptions) {
    const options = parse(connectOptions, input, connectRules)
    checkSizes(options)
    const { host, port, path, tls } = options
    const isSecured = tls !== undefined && tls !== false
    this.options = options
    this.steps = handshakePlan({ ...options, ...connectSteps(options) }, 'connect', isSecured)
    const peer = this.steps?.target ?? { host: path === undefined ? host : 'localhost', port: path ?? port }
    this.settings = settingsOf(options, undefined)
    this.settings.peer = peer
    this.settings.tls = isSecured ? clientTls(tls, peer, 'tls') : undefined
    if (this.steps !== undefined) this.settings.steps = this.steps.scripts
  }

  /** What one connection needs to know: it may be given other handlers later. */
  settingsFor(handlers: ConnectionHandlers<never> | undefined): ConnectionSettings {
    const { settings, options } = this
    return handlers === undefined ? { ...settings } : { ...settings, handlers: settingsOf(options, handlers).handlers }
  }

  /** What native code needs to know. The last answer is kept: a server is connected to in the same way again and again. */
  nativeFor(channel: Channel, to: ConnectAddress, isPaused: boolean): NativeConnectTemplate | NativeFailure {
    const { known, options } = this
    const { address } = to
    if (known !== undefined && known.channel === channel && known.address === address && known.isPaused === isPaused)
      return known.native
    const native = channel.native.prepareConnect({
      ...nativeConfigOf(options, isPaused),
      ...nativeRatesOf(options, channel),
      ...(to.path === undefined ? { host: address, port: (options.socks ?? options).port } : { path: to.path }),
      ...{ localAddress: options.localAddress, localPort: options.localPort, connectTimeoutMs: 0 },
      options: encodeSocketOptions(options, 'connection'),
      opening: this.steps?.native,
    })
    if (isFailure(native)) return native
    this.known = { channel, address, isPaused, native }
    return native
  }
}
