#pragma once

#include <napi.h>

#include <string>

#include "handshake/proxy_header.h"
#include "handshake/proxy_writer.h"

namespace sluice::values {

/// NativeProxyHeader of src/native/binding.ts.
Napi::Object proxyHeader(Napi::Env env, const ProxyHeader& header);

/// What is to be sent, and about whom, with the memory that ProxyFacts look at.
struct ProxySend {
  ProxySendOptions options;
  /// Empty: not said; whoever sends may put the socket's here.
  SocketAddress source{}, destination{};
  std::string alpn, authority, uniqueId, netns;
  bool hasSsl = false;
  uint8_t sslClient = 0;
  uint32_t sslVerify = 0;
  std::string sslVersion, sslCommonName, sslCipher, sslCertificateSignature, sslKeyAlgorithm, sslGroup,
      sslSignatureScheme, sslCertificate;

  ProxyFacts facts() const;
};

/// From a NativeProxySend; it is checked and complete (src/handshake/proxy-options.ts).
ProxySend proxySend(const Napi::Object& object);

/// An IP endpoint { address, port } or { path }; empty for anything else, and for what is no address.
SocketAddress socketAddress(const Napi::Value& value);

/// The functions of NativeProxy in src/native/binding.ts.
Napi::Object proxyBinding(Napi::Env env);

}  // namespace sluice::values
