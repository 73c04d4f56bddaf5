#pragma once

#include <openssl/ssl.h>

#include "tls/options.h"
#include "tls/tls_error.h"

namespace sluice {

/// Gives `context` the trust anchors and revocation lists of the options; servers that ask for certificates also name
/// those anchors to their clients.
TlsResult<void> setTrust(SSL_CTX* context, const TlsOptions& options, bool isServer);

}  // namespace sluice
