#include "tls/library.h"

#include <dlfcn.h>
#include <openssl/crypto.h>

#include <atomic>

namespace sluice {

namespace {

// Among all that native/tls calls, what only OpenSSL 3 has, and what builds of it may lack.
constexpr const char* neededNames[] = {
    "SSL_CTX_set_client_hello_cb", "SSL_CTX_set_tlsext_ticket_key_evp_cb", "SSL_get1_peer_certificate",
    "SSL_group_to_name",           "SSL_CTX_set_psk_server_callback",      "EVP_PKEY_Q_keygen",
    "EVP_MAC_CTX_set_params",      "X509_VERIFY_PARAM_set1_host",          "PKCS12_parse",
    "BIO_meth_set_read_ex",
};

template <class Function>
Function lookUp(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

TlsError unavailable(const std::string& found) {
  return {TlsFailure::unavailable, TlsStage::library, "", "",
          "TLS needs the OpenSSL 3 that a node executable exports; this process has " + found};
}

TlsResult<void> look() {
  const auto number = lookUp<unsigned long (*)()>("OpenSSL_version_num");
  if (number == nullptr) return unavailable("none");
  const auto text = lookUp<const char* (*)(int)>("OpenSSL_version");
  const std::string name = text == nullptr ? "one without a name" : text(OPENSSL_VERSION);
  // BoringSSL says 1.1.1, LibreSSL 2.0.
  if (number() >> 28 != 3) return unavailable(name);
  for (const char* needed : neededNames) {
    if (dlsym(RTLD_DEFAULT, needed) == nullptr) return unavailable(name + ", built without " + needed);
  }
  return {};
}

}  // namespace

TlsResult<void> TlsLibrary::check() {
  static std::atomic<bool> isFine{false};
  if (isFine.load(std::memory_order_relaxed)) return {};
  TlsResult<void> found = look();
  if (found) isFine.store(true, std::memory_order_relaxed);
  return found;
}

const TlsLibrary::Features& TlsLibrary::features() {
  static const Features features{OpenSSL_version(OPENSSL_VERSION), OpenSSL_version_num() >= 0x30500000};
  return features;
}

}  // namespace sluice
