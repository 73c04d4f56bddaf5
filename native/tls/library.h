#pragma once

#include <string>

#include "tls/tls_error.h"

namespace sluice {

/// The OpenSSL that the process carries: node exports its own, and the addon brings none. Nothing else in native/tls
/// may be called before check() has succeeded once: elsewhere (Bun, Electron) the calls would end the process.
class TlsLibrary {
 public:
  /// Whether the process has OpenSSL 3. Errors: unavailable, its text says what was found. Any thread; cheap after the
  /// first call.
  static TlsResult<void> check();

  struct Features {
    std::string version;  // "OpenSSL 3.0.15+quic 3 Sep 2024"
    bool hasMlKem;        // X25519MLKEM768, OpenSSL 3.5
  };
  static const Features& features();
};

}  // namespace sluice
