#include "tls/callbacks.h"

#include <openssl/core_names.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "tls/client_sessions.h"
#include "tls/policy.h"
#include "tls/session.h"
#include "tls/session_rare.h"
#include "tls/ticket_keys.h"

namespace sluice {

namespace {

// The name in a server_name extension (RFC 6066, 3); empty when there is none, or what is no such extension.
std::string_view nameIn(const unsigned char* bytes, size_t size) {
  constexpr size_t headBytes = 5;
  if (size < headBytes || bytes[2] != TLSEXT_NAMETYPE_host_name) return {};
  const size_t length = static_cast<size_t>(bytes[3]) << 8 | bytes[4];
  if (length > size - headBytes) return {};
  const std::string_view name(reinterpret_cast<const char*>(bytes) + headBytes, length);
  return name.find('\0') == std::string_view::npos ? name : std::string_view{};
}

bool copyKey(const TlsPsk& psk, unsigned char* into, unsigned maxBytes) {
  if (psk.key.size() > maxBytes) return false;
  std::memcpy(into, psk.key.data(), psk.key.size());
  return true;
}

}  // namespace

void TlsCallbacks::install(SSL_CTX* context, const TlsPolicy& policy) {
  SSL_CTX_set_msg_callback(context, &TlsCallbacks::message);
  if (policy.keylog != nullptr) SSL_CTX_set_keylog_callback(context, &TlsCallbacks::keylog);
  if (policy.role == TlsRole::client) {
    if (policy.clientSessions != nullptr) SSL_CTX_sess_set_new_cb(context, &TlsCallbacks::newSession);
    if (!policy.psks.empty()) SSL_CTX_set_psk_client_callback(context, &TlsCallbacks::clientPsk);
    return;
  }
  SSL_CTX_set_client_hello_cb(context, &TlsCallbacks::clientHello, nullptr);
  SSL_CTX_set_cert_cb(context, &TlsCallbacks::sessionBegins, nullptr);
  SSL_CTX_set_alpn_select_cb(context, &TlsCallbacks::selectAlpn, nullptr);
  SSL_CTX_set_tlsext_ticket_key_evp_cb(context, &TlsCallbacks::ticketKey);
  if (!policy.ocspResponse.empty()) SSL_CTX_set_tlsext_status_cb(context, &TlsCallbacks::stapleOcsp);
  if (!policy.psks.empty()) SSL_CTX_set_psk_server_callback(context, &TlsCallbacks::serverPsk);
}

void TlsCallbacks::installPsk(SSL* ssl, const TlsPolicy& policy) {
  SSL_set_psk_server_callback(ssl, policy.psks.empty() ? nullptr : &TlsCallbacks::serverPsk);
}

void TlsCallbacks::attach(SSL* ssl, TlsSession* session) {
  SSL_set_app_data(ssl, session);
  SSL_set_msg_callback_arg(ssl, session);  // it is called several times per record, and looking it up has its price
}
TlsSession* TlsCallbacks::sessionOf(const SSL* ssl) { return static_cast<TlsSession*>(SSL_get_app_data(ssl)); }

int TlsCallbacks::verify(int isFine, X509_STORE_CTX* store) {
  const auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  TlsSession* session = sessionOf(ssl);
  if (isFine) return 1;
  TlsSession::Rare& rare = *session->rare_;
  if (rare.verifyCode == X509_V_OK) {
    rare.verifyCode = X509_STORE_CTX_get_error(store);
    rare.verifyDepth = X509_STORE_CTX_get_error_depth(store);
  }
  // The first is the one to tell, and the one that goes into the session for those who resume it.
  X509_STORE_CTX_set_error(store, rare.verifyCode);
  return session->policy_->rejectUnauthorized ? 0 : 1;
}

int TlsCallbacks::clientHello(SSL* ssl, int* alert, void*) {
  TlsSession* session = sessionOf(ssl);
  const unsigned char* bytes = nullptr;
  size_t size = 0;
  std::string_view name;
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &bytes, &size) == 1) name = nameIn(bytes, size);
  switch (session->chooseByName(name)) {
    case TlsSession::NameChoice::known: return SSL_CLIENT_HELLO_SUCCESS;
    case TlsSession::NameChoice::unknown: *alert = SSL_AD_UNRECOGNIZED_NAME; return SSL_CLIENT_HELLO_ERROR;
    case TlsSession::NameChoice::changed: *alert = SSL_AD_ILLEGAL_PARAMETER; return SSL_CLIENT_HELLO_ERROR;
    case TlsSession::NameChoice::failed: break;
  }
  *alert = SSL_AD_INTERNAL_ERROR;
  return SSL_CLIENT_HELLO_ERROR;
}

// OpenSSL gives a new session the lifetime of the policy that the handshake began with, and not of the one that the name led to.
int TlsCallbacks::sessionBegins(SSL* ssl, void*) {
  SSL_SESSION* begun = SSL_get_session(ssl);
  if (begun != nullptr) SSL_SESSION_set_timeout(begun, SSL_CTX_get_timeout(SSL_get_SSL_CTX(ssl)));
  return 1;
}

int TlsCallbacks::selectAlpn(SSL* ssl, const unsigned char** chosen, unsigned char* chosenSize,
                             const unsigned char* offered, unsigned offeredSize, void*) {
  const TlsSession* session = sessionOf(ssl);
  const std::string& own = session->rare_->alpnWire.empty() ? session->policy_->alpnWire : session->rare_->alpnWire;
  if (own.empty()) return SSL_TLSEXT_ERR_NOACK;
  const auto* wanted = reinterpret_cast<const unsigned char*>(own.data());
  unsigned char* found = nullptr;
  const int result =
      SSL_select_next_proto(&found, chosenSize, wanted, static_cast<unsigned>(own.size()), offered, offeredSize);
  *chosen = found;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

int TlsCallbacks::ticketKey(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                            EVP_MAC_CTX* mac, int encrypting) {
  const TlsTicketKeys& keys = *sessionOf(ssl)->policy_->ticketKeys;
  TlsTicketKeys::Key key;
  bool isCurrent = true;
  if (encrypting) {
    key = keys.encrypting();
    if (RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1) return -1;
    std::memcpy(name, key.name, sizeof key.name);
  } else if (!keys.find(name, key, isCurrent)) {
    return 0;  // a full handshake
  }
  char digest[] = "SHA256";
  OSSL_PARAM parameters[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.hmac, key.size),
                             OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                             OSSL_PARAM_construct_end()};
  const EVP_CIPHER* algorithm = key.size == 16 ? EVP_aes_128_cbc() : EVP_aes_256_cbc();
  const bool isReady = EVP_MAC_CTX_set_params(mac, parameters) == 1 &&
                       EVP_CipherInit_ex(cipher, algorithm, nullptr, key.aes, iv, encrypting) == 1;
  OPENSSL_cleanse(&key, sizeof key);
  if (!isReady) return -1;
  // 2: good, and give the client a new one. Those of TLS 1.3 are for one use each.
  return isCurrent && SSL_version(ssl) < TLS1_3_VERSION ? 1 : 2;
}

int TlsCallbacks::newSession(SSL* ssl, SSL_SESSION* made) {
  const TlsSession* session = sessionOf(ssl);
  if (session == nullptr || session->rare_->sessionKey.empty()) return 0;
  session->policy_->clientSessions->put(session->rare_->sessionKey, made);
  return 1;  // the reference is the cache's
}

int TlsCallbacks::stapleOcsp(SSL* ssl, void*) {
  const std::string& response = sessionOf(ssl)->policy_->ocspResponse;
  if (response.empty()) return SSL_TLSEXT_ERR_NOACK;
  void* copy = OPENSSL_memdup(response.data(), response.size());
  if (copy == nullptr) return SSL_TLSEXT_ERR_NOACK;
  SSL_set_tlsext_status_ocsp_resp(ssl, copy, static_cast<long>(response.size()));
  return SSL_TLSEXT_ERR_OK;
}

unsigned TlsCallbacks::serverPsk(SSL* ssl, const char* identity, unsigned char* key, unsigned maxKeyBytes) {
  TlsSession* session = sessionOf(ssl);
  if (identity == nullptr) return 0;
  for (const TlsPsk& psk : session->policy_->psks) {
    if (psk.identity != identity || !copyKey(psk, key, maxKeyBytes)) continue;
    session->rare_->pskIdentity = psk.identity;
    return static_cast<unsigned>(psk.key.size());
  }
  return 0;
}

unsigned TlsCallbacks::clientPsk(SSL* ssl, const char* /*hint*/, char* identity, unsigned maxIdentityBytes,
                                 unsigned char* key, unsigned maxKeyBytes) {
  const TlsPsk& psk = sessionOf(ssl)->policy_->psks.front();
  if (psk.identity.size() >= maxIdentityBytes || !copyKey(psk, key, maxKeyBytes)) return 0;
  std::memcpy(identity, psk.identity.c_str(), psk.identity.size() + 1);
  return static_cast<unsigned>(psk.key.size());
}

void TlsCallbacks::keylog(const SSL* ssl, const char* line) {
  const TlsSession* session = sessionOf(ssl);
  if (session != nullptr && session->policy_->keylog != nullptr) session->policy_->keylog->line(line);
}

void TlsCallbacks::message(int sent, int /*version*/, int contentType, const void* bytes, size_t size, SSL*,
                           void* own) {
  auto* session = static_cast<TlsSession*>(own);
  if (session != nullptr && size > 0)
    session->onMessage(sent != 0, contentType, static_cast<const uint8_t*>(bytes)[0]);
}

}  // namespace sluice
