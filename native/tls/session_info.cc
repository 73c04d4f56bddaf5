#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/ssl.h>

#include "tls/credentials.h"
#include "tls/library_errors.h"
#include "tls/openssl_ptr.h"
#include "tls/session.h"
#include "tls/session_rare.h"

namespace sluice {

namespace {

const char* orNone(const char* text) { return text == nullptr ? "" : text; }

std::string groupOf(SSL* ssl) {
  const bool hasGroup = SSL_version(ssl) >= TLS1_3_VERSION || !SSL_session_reused(ssl);
  const long id = hasGroup ? SSL_get_negotiated_group(ssl) : 0;
  if (id == 0) return "";
  if (const char* name = SSL_group_to_name(ssl, static_cast<int>(id))) return name;
  return orNone(OBJ_nid2sn(static_cast<int>(id)));
}

TlsError notThere(const char* option, const char* text) {
  return {TlsFailure::invalidOption, TlsStage::options, "", option, text};
}

// RFC 5929, 4: the hash of the certificate's signature, but SHA-256 for those that are weaker.
const EVP_MD* endPointDigest(const X509* certificate) {
  int digest = NID_undef, key = NID_undef;
  if (OBJ_find_sigid_algs(X509_get_signature_nid(certificate), &digest, &key) != 1) digest = NID_undef;
  if (digest == NID_undef || digest == NID_md5 || digest == NID_sha1) digest = NID_sha256;
  return EVP_get_digestbyname(OBJ_nid2sn(digest));
}

}  // namespace

TlsInfo TlsSession::info() const {
  TlsInfo info;
  info.protocol = SSL_get_version(ssl_);
  if (const SSL_CIPHER* cipher = SSL_get_current_cipher(ssl_)) {
    info.cipher = SSL_CIPHER_get_name(cipher);
    info.cipherStandard = orNone(SSL_CIPHER_standard_name(cipher));
  }
  info.group = groupOf(ssl_);
  const unsigned char* alpn = nullptr;
  unsigned alpnSize = 0;
  SSL_get0_alpn_selected(ssl_, &alpn, &alpnSize);
  if (alpnSize > 0) info.alpn.assign(reinterpret_cast<const char*>(alpn), alpnSize);
  info.serverName = rare_->serverName;
  info.pskIdentity = rare_->pskIdentity;
  info.entry = rare_->entry;
  info.resumed = SSL_session_reused(ssl_) == 1 && rare_->pskIdentity.empty();
  info.hasPeerCertificate = SSL_get0_peer_certificate(ssl_) != nullptr;
  ERR_clear_error();
  return info;
}

int TlsSession::verifyResult(TlsError& error) const {
  error = {};
  if (SSL_get0_peer_certificate(ssl_) == nullptr) return X509_V_OK;
  const int code = static_cast<int>(SSL_get_verify_result(ssl_));
  if (code != X509_V_OK) error = verifyError(code, rare_->verifyDepth);
  return code;
}

std::vector<std::string> TlsSession::peerChain() const {
  std::vector<std::string> chain;
  X509* leaf = SSL_get0_peer_certificate(ssl_);
  if (leaf == nullptr) return chain;
  chain.push_back(derOf(leaf));
  // A client's list begins with the leaf, a server's has what is above it.
  const STACK_OF(X509)* rest = SSL_get_peer_cert_chain(ssl_);
  const int count = rest == nullptr ? 0 : sk_X509_num(rest);
  for (int i = SSL_is_server(ssl_) ? 0 : 1; i < count; i++) chain.push_back(derOf(sk_X509_value(rest, i)));
  return chain;
}

std::string TlsSession::ownCertificate() const {
  X509* own = SSL_get_certificate(ssl_);
  return own == nullptr ? "" : derOf(own);
}

std::string TlsSession::ocspResponse() const {
  const unsigned char* bytes = nullptr;
  const long size = SSL_get_tlsext_status_ocsp_resp(ssl_, &bytes);
  if (SSL_is_server(ssl_) || bytes == nullptr || size <= 0) return {};
  return std::string(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

TlsResult<std::string> TlsSession::exportKeys(std::string_view label, const std::string* context,
                                              size_t length) const {
  ERR_clear_error();
  std::string keys(length, '\0');
  const auto* contextBytes = context == nullptr ? nullptr : reinterpret_cast<const unsigned char*>(context->data());
  const size_t contextSize = context == nullptr ? 0 : context->size();
  const int result =
      SSL_export_keying_material(ssl_, reinterpret_cast<unsigned char*>(keys.data()), length, label.data(),
                                 label.size(), contextBytes, contextSize, context == nullptr ? 0 : 1);
  if (result != 1) return optionError(TlsFailure::invalidOption, "label", "OpenSSL cannot export this");
  return keys;
}

TlsResult<std::string> TlsSession::channelBinding(TlsChannelBinding kind) const {
  ERR_clear_error();
  unsigned char bytes[EVP_MAX_MD_SIZE];
  if (kind == TlsChannelBinding::exporter) return exportKeys("EXPORTER-Channel-Binding", nullptr, 32);
  if (kind == TlsChannelBinding::unique) {
    if (isTls13_) return notThere("kind", "tls-unique is not defined for TLS 1.3; tls-exporter is");
    // The first Finished of the handshake: the client's, or the server's when a session was resumed.
    const bool isOwn = (SSL_is_server(ssl_) == 1) == (SSL_session_reused(ssl_) == 1);
    const size_t size =
        isOwn ? SSL_get_finished(ssl_, bytes, sizeof bytes) : SSL_get_peer_finished(ssl_, bytes, sizeof bytes);
    return std::string(reinterpret_cast<char*>(bytes), size);
  }
  const X509* server = SSL_is_server(ssl_) ? SSL_get_certificate(ssl_) : SSL_get0_peer_certificate(ssl_);
  if (server == nullptr) return notThere("kind", "tls-server-end-point needs a certificate of the server");
  unsigned size = 0;
  if (X509_digest(server, endPointDigest(server), bytes, &size) != 1) {
    return optionError(TlsFailure::invalidOption, "kind", "the certificate's digest is not known");
  }
  return std::string(reinterpret_cast<char*>(bytes), size);
}

std::string TlsSession::session() const {
  SSL_SESSION* current = SSL_get_session(ssl_);
  if (current == nullptr || SSL_SESSION_is_resumable(current) != 1) return {};
  unsigned char* bytes = nullptr;
  const int size = i2d_SSL_SESSION(current, &bytes);
  ERR_clear_error();
  if (size <= 0) return {};
  std::string der(reinterpret_cast<char*>(bytes), static_cast<size_t>(size));
  OPENSSL_free(bytes);
  return der;
}

}  // namespace sluice
