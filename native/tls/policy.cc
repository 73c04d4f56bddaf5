#include "tls/policy.h"

#include <openssl/err.h>
#include <openssl/sha.h>

#include "tls/callbacks.h"
#include "tls/client_sessions.h"
#include "tls/credentials.h"
#include "tls/library.h"
#include "tls/library_errors.h"
#include "tls/ticket_keys.h"
#include "tls/trust.h"

namespace sluice {

namespace {

// Mozilla's intermediate guideline 5.7, https://wiki.mozilla.org/Security/Server_Side_TLS
constexpr const char* defaultCiphers =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305";
constexpr const char* pskCiphers =
    ":ECDHE-PSK-CHACHA20-POLY1305:ECDHE-PSK-AES128-CBC-SHA256:DHE-PSK-AES128-GCM-SHA256";
// A PSK of the options goes with SHA-256, so a suite with it has to be chosen.
constexpr const char* pskSuites = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384";
constexpr const char* classicGroups = "X25519:P-256:P-384";
// A key share for both, so that servers without ML-KEM need no second round trip.
constexpr const char* mlKemGroups = "*X25519MLKEM768:*X25519:P-256:P-384";

int protocolNumber(TlsVersion version) {
  switch (version) {
    case TlsVersion::tls10: return TLS1_VERSION;
    case TlsVersion::tls11: return TLS1_1_VERSION;
    case TlsVersion::tls12: return TLS1_2_VERSION;
    case TlsVersion::tls13: return TLS1_3_VERSION;
  }
  return TLS1_3_VERSION;
}

std::vector<std::string> split(const std::string& list, const char* separators) {
  std::vector<std::string> items;
  for (size_t begin = 0; begin < list.size();) {
    const size_t end = std::min(list.find_first_of(separators, begin), list.size());
    if (end > begin) items.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return items;
}

void appendItem(std::string& list, const std::string& item) {
  if (!list.empty()) list += ':';
  list += item;
}

bool hasCipher(SSL_CTX* context, const std::string& name) {
  const STACK_OF(SSL_CIPHER)* all = SSL_CTX_get_ciphers(context);
  for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
    if (name == SSL_CIPHER_get_name(sk_SSL_CIPHER_value(all, i))) return true;
  }
  return false;
}

}  // namespace

/// Turns options into a policy, one after another; stops at the first that is wrong.
class TlsPolicyBuilder {
 public:
  TlsPolicyBuilder(TlsRole role, const TlsOptions& options)
      : options_(options), isServer_(role == TlsRole::server), policy_(std::make_shared<TlsPolicy>()) {
    policy_->role = role;
  }

  TlsResult<std::shared_ptr<const TlsPolicy>> build(std::shared_ptr<TlsTicketKeys> formerKeys) {
    ERR_clear_error();
    policy_->context_.reset(SSL_CTX_new(isServer_ ? TLS_server_method() : TLS_client_method()));
    if (policy_->context_ == nullptr) return outOfMemory(TlsStage::options);
    context_ = policy_->context_.get();
    setModes();
    for (auto step : {&TlsPolicyBuilder::numbers, &TlsPolicyBuilder::versions, &TlsPolicyBuilder::ciphers,
                      &TlsPolicyBuilder::groups, &TlsPolicyBuilder::identity, &TlsPolicyBuilder::trust,
                      &TlsPolicyBuilder::protocols, &TlsPolicyBuilder::psks}) {
      if (auto done = (this->*step)(); !done) return done.error();
    }
    if (auto done = sessions(std::move(formerKeys)); !done) return done.error();
    copyRest();
    TlsCallbacks::install(context_, *policy_);
    ERR_clear_error();
    return std::shared_ptr<const TlsPolicy>(std::move(policy_));
  }

 private:
  void setModes() {
    SSL_CTX_set_mode(context_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    uint64_t flags = SSL_OP_NO_COMPRESSION | SSL_OP_SINGLE_DH_USE | SSL_OP_SINGLE_ECDH_USE;
    flags |= options_.allowRenegotiation ? SSL_OP_ALLOW_CLIENT_RENEGOTIATION : SSL_OP_NO_RENEGOTIATION;
    if (options_.honorCipherOrder) flags |= SSL_OP_CIPHER_SERVER_PREFERENCE;
    if (!options_.tickets) flags |= SSL_OP_NO_TICKET;
    SSL_CTX_set_options(context_, flags);
    SSL_CTX_set_max_cert_list(context_, static_cast<long>(options_.maxHandshakeBytes));
  }

  TlsResult<void> numbers() {
    if (options_.maxHandshakeBytes == 0) {
      return optionError(TlsFailure::invalidOption, "maxHandshakeBytes", "0; at least 1 is needed");
    }
    if (options_.verifyDepth < 0 || options_.verifyDepth > 100) {
      return optionError(TlsFailure::invalidOption, "verifyDepth",
                         std::to_string(options_.verifyDepth) + "; 0 to 100 are allowed");
    }
    return {};
  }

  TlsResult<void> versions() {
    if (options_.minVersion > options_.maxVersion) {
      return optionError(TlsFailure::badVersionRange, "minVersion", "minVersion is above maxVersion");
    }
    if (options_.securityLevel < 0 || options_.securityLevel > 5) {
      return optionError(TlsFailure::invalidOption, "securityLevel",
                         std::to_string(options_.securityLevel) + "; 0 to 5 are allowed");
    }
    if (options_.minVersion < TlsVersion::tls12 && options_.securityLevel > 0) {
      return optionError(TlsFailure::badVersionRange, "minVersion",
                         "TLS 1.0 and 1.1 sign with SHA-1, which needs securityLevel 0");
    }
    SSL_CTX_set_security_level(context_, options_.securityLevel);
    SSL_CTX_set_dh_auto(context_, 1);
    if (SSL_CTX_set_min_proto_version(context_, protocolNumber(options_.minVersion)) != 1 ||
        SSL_CTX_set_max_proto_version(context_, protocolNumber(options_.maxVersion)) != 1) {
      return optionError(TlsFailure::badVersionRange, "minVersion", "this OpenSSL lacks one of the versions");
    }
    return {};
  }

  TlsResult<void> ciphers() {
    std::string list, suites = options_.cipherSuites;
    for (const std::string& item : split(options_.ciphers, ": ,")) {
      const bool isSuite = item.starts_with("TLS_") && item.find("_WITH_") == std::string::npos;
      if (!isSuite) appendItem(list, item);
      else if (options_.cipherSuites.empty()) appendItem(suites, item);
    }
    const bool hasPsk = !options_.psks.empty();
    if (suites.empty() && hasPsk) suites = pskSuites;
    for (const std::string& name : split(suites, ":")) {
      if (SSL_CTX_set_ciphersuites(context_, name.c_str()) != 1 || !hasCipher(context_, name)) {
        return optionError(TlsFailure::unknownCipher, options_.cipherSuites.empty() ? "ciphers" : "cipherSuites",
                           "\"" + name + "\" is no cipher suite of TLS 1.3");
      }
    }
    if (!suites.empty() && SSL_CTX_set_ciphersuites(context_, suites.c_str()) != 1) {
      return optionError(TlsFailure::unknownCipher, "cipherSuites", "\"" + suites + "\"");
    }
    for (const std::string& item : split(list, ":")) {
      // "!RC4" and the like need not exist; "@SECLEVEL=1" is no cipher.
      const bool isOperator = item.find_first_of("!-+@") == 0;
      if (isOperator || SSL_CTX_set_cipher_list(context_, item.c_str()) == 1) continue;
      return optionError(TlsFailure::unknownCipher, "ciphers",
                         "\"" + item + "\" matches no cipher of this OpenSSL");
    }
    if (list.empty()) list = hasPsk ? std::string(defaultCiphers) + pskCiphers : defaultCiphers;
    if (SSL_CTX_set_cipher_list(context_, list.c_str()) != 1) {
      return optionError(TlsFailure::unknownCipher, "ciphers",
                         "\"" + list + "\" matches no cipher of this OpenSSL");
    }
    return {};
  }

  TlsResult<void> groups() {
    policy_->groups_ = options_.groups;
    if (options_.groups.empty()) {
      policy_->groups_ = TlsLibrary::features().hasMlKem ? mlKemGroups : classicGroups;
      if (setGroups() || (policy_->groups_ = classicGroups, setGroups())) ERR_clear_error();
      else return optionError(TlsFailure::unknownGroup, "groups", "this OpenSSL lacks one of " + policy_->groups_);
    } else if (!setGroups()) {
      return optionError(TlsFailure::unknownGroup, "groups", "\"" + options_.groups + "\" has an unknown group");
    }
    const std::string& algorithms = options_.signatureAlgorithms;
    if (!algorithms.empty() && SSL_CTX_set1_sigalgs_list(context_, algorithms.c_str()) != 1) {
      return optionError(TlsFailure::unknownSignatureAlgorithm, "signatureAlgorithms",
                         "\"" + algorithms + "\" has an unknown algorithm");
    }
    return {};
  }

  bool setGroups() { return SSL_CTX_set1_groups_list(context_, policy_->groups_.c_str()) == 1; }

  TlsResult<void> identity() {
    std::vector<int> keyTypes;
    for (size_t i = 0; i < options_.keys.size(); i++) {
      const std::string option = "keys[" + std::to_string(i) + "]";
      auto credential = parseKeyPair(options_.keys[i], option);
      if (!credential) return credential.error();
      if (auto used = use(*credential, option, keyTypes); !used) return used.error();
    }
    for (size_t i = 0; i < options_.pfx.size(); i++) {
      const std::string option = "pfx[" + std::to_string(i) + "]";
      auto credential = parsePfx(options_.pfx[i], option);
      if (!credential) return credential.error();
      if (auto used = use(*credential, option, keyTypes); !used) return used.error();
    }
    return {};
  }

  TlsResult<void> use(Credential& credential, const std::string& option, std::vector<int>& keyTypes) {
    const int type = EVP_PKEY_get_base_id(credential.key.get());
    for (const int former : keyTypes) {
      if (former == type) {
        return optionError(TlsFailure::invalidOption, option, "another certificate has a key of the same type");
      }
    }
    keyTypes.push_back(type);
    const OpensslPtr<STACK_OF(X509)> chain(sk_X509_new_null());
    for (auto& above : credential.chain) {
      if (chain == nullptr || sk_X509_push(chain.get(), above.get()) == 0) return outOfMemory(TlsStage::options);
      (void)above.release();  // the stack frees it
    }
    ERR_clear_error();
    X509* certificate = credential.certificate.get();
    if (SSL_CTX_use_cert_and_key(context_, certificate, credential.key.get(), chain.get(), 1) == 1) return {};
    const unsigned long code = ERR_peek_last_error();
    const int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    const bool isWeak =
        reason == SSL_R_EE_KEY_TOO_SMALL || reason == SSL_R_CA_KEY_TOO_SMALL || reason == SSL_R_CA_MD_TOO_WEAK;
    return optionError(
        isWeak ? TlsFailure::keyTooWeak : TlsFailure::badCertificateData, option,
        isWeak ? "too weak for securityLevel " + std::to_string(options_.securityLevel) : "OpenSSL cannot use it");
  }

  TlsResult<void> trust() {
    if (auto done = setTrust(context_, options_, isServer_); !done) return done.error();
    int mode = SSL_VERIFY_PEER;
    if (isServer_ && options_.clientAuth == TlsClientAuth::none) mode = SSL_VERIFY_NONE;
    if (isServer_ && options_.clientAuth == TlsClientAuth::require) mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(context_, mode, &TlsCallbacks::verify);
    SSL_CTX_set_verify_depth(context_, options_.verifyDepth);
    return {};
  }

  TlsResult<void> protocols() {
    auto wire = alpnWireFormat(options_.alpn);
    if (!wire) return wire.error();
    policy_->alpnWire = std::move(*wire);
    if (isServer_ || policy_->alpnWire.empty()) return {};
    const auto* bytes = reinterpret_cast<const unsigned char*>(policy_->alpnWire.data());
    if (SSL_CTX_set_alpn_protos(context_, bytes, static_cast<unsigned>(policy_->alpnWire.size())) != 0) {
      return outOfMemory(TlsStage::options);
    }
    return {};
  }

  TlsResult<void> psks() {
    for (size_t i = 0; i < options_.psks.size(); i++) {
      const TlsPsk& psk = options_.psks[i];
      const std::string option = "psks[" + std::to_string(i) + "]";
      const bool hasNul = psk.identity.find('\0') != std::string::npos;
      if (psk.identity.empty() || psk.identity.size() > PSK_MAX_IDENTITY_LEN || hasNul) {
        return optionError(TlsFailure::invalidOption, option + ".identity",
                           "1 to 128 bytes without NUL are allowed");
      }
      if (psk.key.empty() || psk.key.size() > PSK_MAX_PSK_LEN) {
        return optionError(TlsFailure::invalidOption, option + ".key", "1 to 256 bytes are allowed");
      }
    }
    if (!options_.pskHint.empty() && SSL_CTX_use_psk_identity_hint(context_, options_.pskHint.c_str()) != 1) {
      return optionError(TlsFailure::invalidOption, "pskHint", "at most 128 bytes are allowed");
    }
    return {};
  }

  TlsResult<void> sessions(std::shared_ptr<TlsTicketKeys> formerKeys) {
    digestId();
    SSL_CTX_set_timeout(context_, static_cast<long>(options_.sessionTimeoutS));
    if (!isServer_) {
      const bool keeps = options_.clientSessions != nullptr;
      SSL_CTX_set_session_cache_mode(
          context_, keeps ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL : SSL_SESS_CACHE_OFF);
      policy_->clientSessions = options_.clientSessions;
      return {};
    }
    uint8_t id[TlsPolicy::idBytes];
    policy_->sessionId({}, id);
    SSL_CTX_set_session_id_context(context_, id, sizeof id);
    const bool remembers = options_.sessionCacheCount > 0;
    SSL_CTX_set_session_cache_mode(context_, remembers ? SSL_SESS_CACHE_SERVER : SSL_SESS_CACHE_OFF);
    if (remembers) SSL_CTX_sess_set_cache_size(context_, static_cast<long>(options_.sessionCacheCount));
    SSL_CTX_set_num_tickets(context_, options_.tickets || remembers ? options_.ticketCount : 0);
    policy_->ticketKeys = options_.ticketKeys != nullptr ? options_.ticketKeys : std::move(formerKeys);
    if (policy_->ticketKeys == nullptr) {
      auto keys = TlsTicketKeys::create();
      if (!keys) return keys.error();
      policy_->ticketKeys = std::move(*keys);
    }
    return {};
  }

  // The same options give the same in every process: sessions may be resumed by another worker.
  void digestId() {
    std::string all = isServer_ ? "server" : "client";
    const auto add = [&all](std::string_view part) { all += std::to_string(part.size()).append(":").append(part); };
    add(std::to_string(static_cast<int>(options_.clientAuth)));
    add(options_.rejectUnauthorized ? "strict" : "lenient");
    if (options_.sessionIdContext.empty()) {
      add(options_.systemTrust ? "system" : "given");
      add(std::to_string(options_.verifyDepth));
      for (const std::string& ca : options_.ca) add(ca);
      add("crls");
      for (const std::string& crl : options_.crls) add(crl);
      // Resuming, OpenSSL does not look whether these still allow what was agreed on.
      if (isServer_)
        add(options_.ciphers + " " + options_.cipherSuites + " " + std::to_string(options_.securityLevel));
    } else {
      add(options_.sessionIdContext);
    }
    if (!isServer_) {
      // Whom we are to the server, and what we accept of it.
      for (const TlsKeyPair& pair : options_.keys) add(pair.certificate);
      for (const TlsPfx& pfx : options_.pfx) add(pfx.data);
      add(options_.ciphers + " " + options_.cipherSuites + " " + options_.groups + " " +
          options_.signatureAlgorithms);
      add(std::to_string(static_cast<int>(options_.minVersion) * 4 + static_cast<int>(options_.maxVersion)));
      add(policy_->alpnWire);
    }
    SHA256(reinterpret_cast<const unsigned char*>(all.data()), all.size(), policy_->id_);
  }

  void copyRest() {
    policy_->rejectUnauthorized = options_.rejectUnauthorized;
    policy_->clientAuth = isServer_ ? options_.clientAuth : TlsClientAuth::none;
    policy_->allowRenegotiation = options_.allowRenegotiation;
    policy_->maxRenegotiationsPerMinute = options_.maxRenegotiationsPerMinute;
    policy_->maxKeyUpdatesPerSecond = options_.maxKeyUpdatesPerSecond;
    policy_->maxEmptyRecordsPerSecond = options_.maxEmptyRecordsPerSecond;
    policy_->maxHandshakeBytes = options_.maxHandshakeBytes;
    policy_->dynamicRecordSize = options_.dynamicRecordSize;
    policy_->ocspResponse = options_.ocspResponse;
    policy_->psks = options_.psks;
    policy_->keylog = options_.keylog;
    if (!isServer_ && options_.requestOcsp) SSL_CTX_set_tlsext_status_type(context_, TLSEXT_STATUSTYPE_ocsp);
  }

  const TlsOptions& options_;
  const bool isServer_;
  SSL_CTX* context_ = nullptr;
  std::shared_ptr<TlsPolicy> policy_;
};

TlsResult<std::shared_ptr<const TlsPolicy>> TlsPolicy::create(TlsRole role, const TlsOptions& options,
                                                              std::shared_ptr<TlsTicketKeys> formerKeys) {
  if (auto library = TlsLibrary::check(); !library) return library.error();
  return TlsPolicyBuilder(role, options).build(std::move(formerKeys));
}

void TlsPolicy::sessionId(std::string_view serverName, uint8_t id[idBytes]) const {
  std::string all(this->id());
  if (clientAuth != TlsClientAuth::none) {
    for (const char letter : serverName)
      all += letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter + 32) : letter;
  }
  SHA256(reinterpret_cast<const unsigned char*>(all.data()), all.size(), id);
}

// SSL_set_SSL_CTX takes over certificates, ciphers and trust. The rest was copied when the SSL was made (SV-03).
bool TlsPolicy::takeOver(SSL* ssl, const TlsPolicy& former) const {
  SSL_CTX* context = context_.get();
  if (SSL_set_SSL_CTX(ssl, context) == nullptr) return false;
  SSL_set_verify(ssl, SSL_CTX_get_verify_mode(context), &TlsCallbacks::verify);
  SSL_set_verify_depth(ssl, SSL_CTX_get_verify_depth(context));
  SSL_clear_options(ssl, SSL_get_options(ssl) & ~SSL_CTX_get_options(context));
  SSL_set_options(ssl, SSL_CTX_get_options(context));
  SSL_set_min_proto_version(ssl, SSL_CTX_get_min_proto_version(context));
  SSL_set_max_proto_version(ssl, SSL_CTX_get_max_proto_version(context));
  SSL_set_max_cert_list(ssl, SSL_CTX_get_max_cert_list(context));
  SSL_set_num_tickets(ssl, SSL_CTX_get_num_tickets(context));
  TlsCallbacks::installPsk(ssl, *this);
  return groups_ == former.groups_ || SSL_set1_groups_list(ssl, groups_.c_str()) == 1;
}

TlsResult<std::string> alpnWireFormat(const std::vector<std::string>& protocols) {
  std::string wire;
  for (size_t i = 0; i < protocols.size(); i++) {
    if (protocols[i].empty() || protocols[i].size() > 255) {
      return optionError(TlsFailure::invalidOption, "alpn[" + std::to_string(i) + "]",
                         "1 to 255 bytes are allowed");
    }
    wire += static_cast<char>(protocols[i].size());
    wire += protocols[i];
  }
  if (wire.size() > 65535) return optionError(TlsFailure::invalidOption, "alpn", "more than 65535 bytes in all");
  return wire;
}

}  // namespace sluice
