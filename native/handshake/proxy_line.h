#pragma once

#include "handshake/proxy_header.h"

namespace sluice {

/// Version 1's part of parseProxyHeader(); `bytes` begin with proxySignatureV1.
ProxyParse parseProxyLine(std::span<const uint8_t> bytes, const ProxyLimits& limits);

}  // namespace sluice
