#include "tls/trust.h"

#include <openssl/err.h>
#include <unistd.h>

#include <cstdlib>

#include "tls/credentials.h"
#include "tls/library_errors.h"

namespace sluice {

namespace {

// Where systems keep their bundle. The node executable's own default often names a folder of the machine it was built on.
constexpr const char* usualBundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",                 // Debian, Arch, Gentoo
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  // Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",                   // older RHEL
    "/etc/ssl/ca-bundle.pem",                             // SUSE
    "/etc/ssl/cert.pem",                                  // Alpine, macOS, BSD
    "/usr/local/etc/ssl/cert.pem",                        // FreeBSD
};

bool exists(const char* path) { return access(path, R_OK) == 0; }

bool loadSystemTrust(X509_STORE* store) {
  const char* namedFile = std::getenv(X509_get_default_cert_file_env());
  const char* namedFolder = std::getenv(X509_get_default_cert_dir_env());
  X509_STORE_set_default_paths(store);
  ERR_clear_error();
  if (namedFile != nullptr || namedFolder != nullptr) return true;
  if (exists(X509_get_default_cert_file())) return true;
  for (const char* bundle : usualBundles) {
    if (exists(bundle) && X509_STORE_load_file(store, bundle) == 1) return true;
  }
  return exists(X509_get_default_cert_dir());
}

}  // namespace

TlsResult<void> setTrust(SSL_CTX* context, const TlsOptions& options, bool isServer) {
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  for (size_t i = 0; i < options.ca.size(); i++) {
    const std::string option = "ca[" + std::to_string(i) + "]";
    auto anchors = parseCertificates(options.ca[i], TlsFailure::badCaData, option);
    if (!anchors) return anchors.error();
    for (const auto& anchor : *anchors) {
      if (X509_STORE_add_cert(store, anchor.get()) != 1) {
        return optionError(TlsFailure::badCaData, option, "OpenSSL cannot use it");
      }
      if (isServer && options.clientAuth != TlsClientAuth::none && options.caNames)
        SSL_CTX_add_client_CA(context, anchor.get());
    }
  }
  if (options.systemTrust && !loadSystemTrust(store)) {
    return optionError(TlsFailure::noTrustStore, "systemTrust",
                       "this system has no certificates in any usual place");
  }
  for (size_t i = 0; i < options.crls.size(); i++) {
    const std::string option = "crls[" + std::to_string(i) + "]";
    auto lists = parseCrls(options.crls[i], option);
    if (!lists) return lists.error();
    for (const auto& list : *lists) {
      if (X509_STORE_add_crl(store, list.get()) != 1) {
        return optionError(TlsFailure::badCrlData, option, "OpenSSL cannot use it");
      }
    }
  }
  if (!options.crls.empty()) X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  return {};
}

}  // namespace sluice
