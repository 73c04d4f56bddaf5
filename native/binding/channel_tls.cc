// TLS of one connection.
#include "binding/channel.h"
#include "binding/channel_target.h"
#include "binding/tls_binding.h"
#include "binding/tls_values.h"
#include "binding/values.h"

namespace sluice {

Napi::Value Channel::startTls(const Napi::CallbackInfo& info) {
  const Target target(info);
  std::shared_ptr<const TlsConfig> config;
  if (!tlsConfigFrom(info[2], config) || !config) return values::failure(info.Env(), channelClosed);
  TlsResult<void> result =
      TlsError{.failure = TlsFailure::closed, .stage = TlsStage::options, .text = "the connection is closed"};
  onLoop([&](Network& network, Loop&) {
    if (Connection* connection = target.in(network)) result = network.startTls(target.slot, *connection, config);
  });
  return result ? info.Env().Undefined() : values::tlsFailure(info.Env(), result.error());
}

// Calls task(session) on the loop if the connection has one whose handshake is done.
template <class Task>
void Channel::onSession(const Napi::CallbackInfo& info, Task task) {
  const Target target(info);
  onLoop([&](Network& network, Loop&) {
    const Connection* connection = network.find(target.slot, target.tag);
    if (connection == nullptr || !connection->tls || !connection->tls->hasSession()) return;
    if (connection->tls->phase() == TlsLayer::Phase::offloaded) return;
    if (connection->tls->session().handshakeDone()) task(connection->tls->session());
  });
}

Napi::Value Channel::tlsInfo(const Napi::CallbackInfo& info) {
  bool found = false;
  TlsInfo known;
  TlsError verified;
  onSession(info, [&](const TlsSession& session) {
    known = session.info();
    session.verifyResult(verified);
    found = true;
  });
  return found ? values::tlsInfo(info.Env(), known, verified) : info.Env().Undefined();
}

Napi::Value Channel::tlsExport(const Napi::CallbackInfo& info) {
  const std::string label = values::bytesOf(info[2]), context = values::bytesOf(info[4]);
  const auto length = info[3].As<Napi::Number>().Uint32Value();
  const bool hasContext = !info[4].IsUndefined() && !info[4].IsNull();
  TlsResult<std::string> keys = TlsError{.failure = TlsFailure::closed, .text = "there is no open TLS session"};
  onSession(info, [&](const TlsSession& session) {
    keys = session.exportKeys(label, hasContext ? &context : nullptr, length);
  });
  return keys ? values::buffer(info.Env(), *keys) : values::tlsFailure(info.Env(), keys.error());
}

Napi::Value Channel::tlsBinding(const Napi::CallbackInfo& info) {
  const std::string kind = values::bytesOf(info[2]);
  const auto wanted = kind == "tls-unique"     ? TlsChannelBinding::unique
                      : kind == "tls-exporter" ? TlsChannelBinding::exporter
                                               : TlsChannelBinding::serverEndPoint;
  TlsResult<std::string> binding = TlsError{.failure = TlsFailure::closed, .text = "there is no open TLS session"};
  onSession(info, [&](const TlsSession& session) { binding = session.channelBinding(wanted); });
  return binding ? values::buffer(info.Env(), *binding) : values::tlsFailure(info.Env(), binding.error());
}

Napi::Value Channel::tlsSession(const Napi::CallbackInfo& info) {
  std::string bytes;
  onSession(info, [&](const TlsSession& session) { bytes = session.session(); });
  return values::buffer(info.Env(), bytes);
}

Napi::Value Channel::tlsPeerCertificates(const Napi::CallbackInfo& info) {
  std::vector<std::string> chain;
  onSession(info, [&](const TlsSession& session) { chain = session.peerChain(); });
  return values::bufferList(info.Env(), chain);
}

Napi::Value Channel::tlsOwnCertificate(const Napi::CallbackInfo& info) {
  std::string bytes;
  onSession(info, [&](const TlsSession& session) { bytes = session.ownCertificate(); });
  return values::buffer(info.Env(), bytes);
}

Napi::Value Channel::tlsOcspResponse(const Napi::CallbackInfo& info) {
  std::string bytes;
  onSession(info, [&](const TlsSession& session) { bytes = session.ocspResponse(); });
  return values::buffer(info.Env(), bytes);
}

}  // namespace sluice
