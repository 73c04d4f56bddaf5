import type { ConnectOptions } from './connect-options.js'
import type { Connection } from './connection.js'
import type { ConnectionHandlers } from './handlers.js'
import type { Listener, ListenOptions } from './listener.js'
import type { Routes } from './routing/routes.js'
import { Runtime } from './runtime.js'
import type { PairOptions } from './settings.js'

let shared: Runtime | undefined

/** @internal Started by its first use: who makes runtimes of their own need none. */
export function defaultRuntime(): Runtime {
  shared ??= new Runtime()
  return shared
}

/** {@link Runtime.listen} of a runtime that all callers of this thread share, with the defaults of {@link Runtime}. */
export function listen<Data = unknown>(
  options: ListenOptions,
  handlers?: ConnectionHandlers<Data> | Routes,
): Promise<Listener> {
  return defaultRuntime().listen(options, handlers)
}

/** {@link Runtime.pair} of a runtime that all callers of this thread share, with the defaults of {@link Runtime}. */
export function pair<First = unknown, Second = unknown>(
  options?: PairOptions,
  first?: ConnectionHandlers<First>,
  second?: ConnectionHandlers<Second>,
): [Connection<First>, Connection<Second>] {
  return defaultRuntime().pair(options, first, second)
}

/** {@link Runtime.connect} of a runtime that all callers of this thread share, with the defaults of {@link Runtime}. */
export function connect<Data = unknown>(
  options: ConnectOptions,
  handlers?: ConnectionHandlers<Data>,
): Promise<Connection<Data>> {
  return defaultRuntime().connect(options, handlers)
}
