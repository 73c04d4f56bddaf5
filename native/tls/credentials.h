#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tls/openssl_ptr.h"
#include "tls/options.h"
#include "tls/tls_error.h"

namespace sluice {

/// A key, its certificate, and the certificates above it.
struct Credential {
  OpensslPtr<X509> certificate;
  OpensslPtr<EVP_PKEY> key;
  std::vector<OpensslPtr<X509>> chain;
};

/// What the texts and bytes of options hold. Each function names `option` in its error, and leaves OpenSSL's error queue
/// empty.

/// PEM with any number of certificates, or one in DER. At least one.
TlsResult<std::vector<OpensslPtr<X509>>> parseCertificates(std::string_view data, TlsFailure failure,
                                                           const std::string& option);
TlsResult<std::vector<OpensslPtr<X509_CRL>>> parseCrls(std::string_view data, const std::string& option);
/// `keyOption` and `passphraseOption` are for errors.
TlsResult<OpensslPtr<EVP_PKEY>> parseKey(std::string_view data, std::string_view passphrase,
                                         const std::string& keyOption, const std::string& passphraseOption);
/// `option`: "keys[0]".
TlsResult<Credential> parseKeyPair(const TlsKeyPair& pair, const std::string& option);
/// `option`: "pfx[0]".
TlsResult<Credential> parsePfx(const TlsPfx& pfx, const std::string& option);

/// The whole of `data` as a memory BIO, which refers to it.
OpensslPtr<BIO> readerOf(std::string_view data);
bool isPem(std::string_view data);
/// DER of a certificate; "" when out of memory.
std::string derOf(X509* certificate);

}  // namespace sluice
