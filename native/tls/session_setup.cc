#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>

#include "tls/callbacks.h"
#include "tls/client_sessions.h"
#include "tls/library_errors.h"
#include "tls/openssl_ptr.h"
#include "tls/policy.h"
#include "tls/session.h"
#include "tls/session_rare.h"
#include "tls/wire_bio.h"

namespace sluice {

namespace {

bool isIpLiteral(const std::string& text) {
  unsigned char address[16];
  return inet_pton(AF_INET, text.c_str(), address) == 1 || inet_pton(AF_INET6, text.c_str(), address) == 1;
}

// What may stand in a certificate or in SNI as a DNS name.
bool isDnsName(const std::string& text) {
  constexpr size_t maxBytes = 253;
  if (text.empty() || text.size() > maxBytes || text.front() == '.') return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char letter) { return letter > ' ' && letter < 0x7f; });
}

std::string withoutDot(std::string name) {
  if (name.ends_with('.')) name.pop_back();
  return name;
}

}  // namespace

TlsSession::TlsSession(std::shared_ptr<TlsContext> context, std::shared_ptr<const TlsPolicy> policy)
    : sizer_(policy->dynamicRecordSize),
      context_(std::move(context)),
      policy_(std::move(policy)),
      rare_(std::make_unique<Rare>()) {}

TlsResult<std::unique_ptr<TlsSession>> TlsSession::create(std::shared_ptr<TlsContext> context,
                                                          const TlsPeerOptions& peer) {
  std::shared_ptr<const TlsPolicy> policy = context->policy();
  std::unique_ptr<TlsSession> session(new TlsSession(std::move(context), std::move(policy)));
  if (auto prepared = session->prepare(peer); !prepared) return prepared.error();
  return session;
}

TlsResult<void> TlsSession::prepare(const TlsPeerOptions& peer) {
  ERR_clear_error();
  ssl_ = SSL_new(policy_->context());
  if (ssl_ == nullptr) return outOfMemory(TlsStage::options);
  TlsCallbacks::attach(ssl_, this);
  BIO* bio = TlsWireBio::make(this);
  if (bio == nullptr) return outOfMemory(TlsStage::options);
  SSL_set_bio(ssl_, bio, bio);
  auto alpn = alpnWireFormat(peer.alpn);
  if (!alpn) return alpn.error();
  rare_->alpnWire = std::move(*alpn);
  if (policy_->role == TlsRole::client) return prepareClient(peer);
  SSL_set_accept_state(ssl_);
  return {};
}

TlsResult<void> TlsSession::prepareClient(const TlsPeerOptions& peer) {
  SSL_set_connect_state(ssl_);
  if (!rare_->alpnWire.empty()) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(rare_->alpnWire.data());
    if (SSL_set_alpn_protos(ssl_, bytes, static_cast<unsigned>(rare_->alpnWire.size())) != 0) {
      return outOfMemory(TlsStage::options);
    }
  }
  if (auto done = prepareNames(peer); !done) return done.error();
  return prepareResumption(peer);
}

TlsResult<void> TlsSession::prepareNames(const TlsPeerOptions& peer) {
  rare_->serverName = withoutDot(peer.serverName);
  if (!rare_->serverName.empty()) {
    if (isIpLiteral(rare_->serverName) || !isDnsName(rare_->serverName)) {
      return optionError(TlsFailure::invalidOption, "serverName", "\"" + peer.serverName + "\" is no DNS name");
    }
    if (SSL_set_tlsext_host_name(ssl_, rare_->serverName.c_str()) != 1) return outOfMemory(TlsStage::options);
  }
  if (peer.verifyName.empty()) return {};
  X509_VERIFY_PARAM* parameters = SSL_get0_param(ssl_);
  const std::string name = withoutDot(peer.verifyName);
  if (isIpLiteral(name)) {
    if (X509_VERIFY_PARAM_set1_ip_asc(parameters, name.c_str()) != 1) return outOfMemory(TlsStage::options);
    return {};
  }
  if (!isDnsName(name)) {
    return optionError(TlsFailure::invalidOption, "verifyName",
                       "\"" + peer.verifyName + "\" is no DNS name or IP address");
  }
  unsigned flags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
  if (!peer.checkCommonName) flags |= X509_CHECK_FLAG_NEVER_CHECK_SUBJECT;
  X509_VERIFY_PARAM_set_hostflags(parameters, flags);
  if (X509_VERIFY_PARAM_set1_host(parameters, name.c_str(), name.size()) != 1)
    return outOfMemory(TlsStage::options);
  return {};
}

TlsResult<void> TlsSession::prepareResumption(const TlsPeerOptions& peer) {
  OpensslPtr<SSL_SESSION> former;
  if (!peer.session.empty()) {
    const auto* position = reinterpret_cast<const unsigned char*>(peer.session.data());
    former.reset(d2i_SSL_SESSION(nullptr, &position, static_cast<long>(peer.session.size())));
    if (former == nullptr) return optionError(TlsFailure::badSession, "session", "not as session() gave it");
  }
  if (!peer.sessionKey.empty() && policy_->clientSessions != nullptr) {
    // Under other names or another policy it is another session.
    rare_->sessionKey.append(peer.sessionKey).append("\n").append(rare_->serverName).append("\n");
    rare_->sessionKey.append(peer.verifyName).append(peer.checkCommonName ? "\ncn\n" : "\n\n");
    rare_->sessionKey.append(rare_->alpnWire).append("\n").append(policy_->id());
    if (former == nullptr) former.reset(policy_->clientSessions->take(rare_->sessionKey));
  }
  if (former == nullptr) return {};
  SSL_set_session(ssl_, former.get());
  // One that was not verified is of no use to those who verify (IC-30).
  if (policy_->rejectUnauthorized && SSL_get_verify_result(ssl_) != X509_V_OK) SSL_set_session(ssl_, nullptr);
  ERR_clear_error();
  return {};
}

}  // namespace sluice
