#pragma once

#include <napi.h>

#include <string>

#include "handshake/proxy_header.h"
#include "handshake/proxy_send.h"

namespace sluice::values {

/// NativeProxyHeader of src/native/binding.ts.
Napi::Object proxyHeader(Napi::Env env, const ProxyHeader& header);

/// From a NativeProxySend; it is checked and complete (src/handshake/proxy-options.ts).
ProxySend proxySend(const Napi::Object& object);

/// An IP endpoint { address, port } or { path }; empty for anything else, and for what is no address.
SocketAddress socketAddress(const Napi::Value& value);

/// The functions of NativeProxy in src/native/binding.ts.
Napi::Object proxyBinding(Napi::Env env);

}  // namespace sluice::values
