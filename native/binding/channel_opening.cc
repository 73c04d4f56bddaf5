// Where connections come from: listeners, connect(), pairs and descriptors.
#include "binding/channel.h"
#include "binding/channel_target.h"
#include "binding/gates.h"
#include "binding/opening_values.h"
#include "binding/tls_binding.h"
#include "binding/values.h"

namespace sluice {

namespace {

Result<SocketAddress> readAddress(const Napi::Object& spec, const char* pathKey, const char* hostKey,
                                  const char* portKey) {
  if (values::has(spec, pathKey)) return SocketAddress::unixPath(values::text(spec, pathKey));
  return SocketAddress::ip(values::text(spec, hostKey), static_cast<uint16_t>(values::number(spec, portKey)));
}

}  // namespace

Napi::Value Channel::listen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto options = info[0].As<Napi::Object>();
  ListenSpec spec;
  if (values::has(options, "fd")) {
    spec.adoptFd = static_cast<int>(values::number(options, "fd"));
  } else {
    auto address = readAddress(options, "path", "host", "port");
    if (!address) return values::failure(env, address.error());
    spec.address = *address;
  }
  spec.backlog = static_cast<int>(values::number(options, "backlog"));
  spec.ipv6Only = values::flag(options, "ipv6Only");
  spec.reusePort = values::flag(options, "reusePort");
  spec.shared = values::flag(options, "shared");
  spec.options = values::socketOptions(options, "options");
  const auto key = values::number(options, "key");
  auto config = values::connectionConfig(options);
  if (!tlsConfigFrom(options.Get("tls"), config.tls)) return values::failure(env, channelClosed);
  auto gates = readGates(options.Get("gates"));
  Result<SocketAddress> bound = channelClosed;
  onLoop([&](Network& network, Loop& loop) {
    auto id = network.listen(spec, key, config, gates);
    if (id) bound = loop.engine().listenerAddress(*id);
    else bound = id.error();
  });
  return bound ? values::address(env, *bound) : values::failure(env, bound.error());
}

Napi::Value Channel::listenerFd(const Napi::CallbackInfo& info) {
  const auto key = info[0].As<Napi::Number>().Uint32Value();
  int fd = -1;
  onLoop([&](Network& network, Loop& loop) {
    if (const Listener* listener = network.listener(key)) fd = loop.engine().listenerFd(listener->id);
  });
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value Channel::listenerStats(const Napi::CallbackInfo& info) {
  const auto key = info[0].As<Napi::Number>().Uint32Value();
  auto result = Napi::Object::New(info.Env());
  uint64_t accepted = 0, failures = 0, handshakesDone = 0, handshakesFailed = 0, handshakes = 0, waiting = 0;
  auto state = Listener::State::accepting;
  OpeningCounts openings{};
  onLoop([&](Network& network, Loop&) {
    if (const Listener* listener = network.listener(key)) {
      accepted = listener->accepted;
      failures = listener->failures;
      state = listener->state;
      handshakesDone = listener->handshakesDone;
      handshakesFailed = listener->handshakesFailed;
      handshakes = listener->handshakes;
      waiting = listener->waiting.size();
      if (listener->openings) openings = *listener->openings;
    }
  });
  result.Set("accepted", static_cast<double>(accepted));
  result.Set("acceptFailures", static_cast<double>(failures));
  result.Set("handshakesDone", static_cast<double>(handshakesDone));
  result.Set("handshakesFailed", static_cast<double>(handshakesFailed));
  result.Set("handshakesUnderWay", static_cast<double>(handshakes));
  result.Set("handshakesWaiting", static_cast<double>(waiting));
  result.Set("turnedAway", values::openingCounts(info.Env(), openings));
  result.Set("state", state == Listener::State::accepting ? "accepting"
                      : state == Listener::State::waiting ? "waiting"
                                                          : "backingOff");
  return result;
}

Napi::Value Channel::closeListener(const Napi::CallbackInfo& info) {
  const auto key = info[0].As<Napi::Number>().Uint32Value();
  onLoop([&](Network& network, Loop&) { network.closeListener(key); });
  return info.Env().Undefined();
}

// A slot and its tag, as JavaScript names a connection.
Napi::Value Channel::handle(Napi::Env env, const Result<Slot>& slot, uint32_t generation) {
  if (!slot) return values::failure(env, slot.error());
  auto result = Napi::Object::New(env);
  result.Set("slot", *slot);
  result.Set("tag", static_cast<int32_t>(generation << 8));
  return result;
}

Napi::Value Channel::connect(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto options = info[0].As<Napi::Object>();
  ConnectSpec spec;
  auto address = readAddress(options, "path", "host", "port");
  if (!address) return values::failure(env, address.error());
  spec.address = *address;
  if (values::has(options, "localAddress")) {
    auto local = SocketAddress::ip(values::text(options, "localAddress"),
                                   static_cast<uint16_t>(values::number(options, "localPort")));
    if (!local) return values::failure(env, local.error());
    spec.local = *local;
  }
  spec.options = values::socketOptions(options, "options");
  const auto config = values::connectionConfig(options);
  const auto timeoutMs = values::number(options, "connectTimeoutMs");
  Result<Slot> slot = channelClosed;
  uint32_t generation = 0;
  onLoop([&](Network& network, Loop& loop) {
    slot = network.connect(spec, config, timeoutMs);
    if (slot) generation = loop.engine().generation(*slot);
  });
  return handle(env, slot, generation);
}

Napi::Value Channel::pair(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto options = info[0].As<Napi::Object>();
  const PairOptions pairOptions{values::number(options, "bufferBytes"), values::flag(options, "endOnDestroy")};
  const auto first = values::connectionConfig(info[1].As<Napi::Object>());
  const auto second = values::connectionConfig(info[2].As<Napi::Object>());
  Result<PairSockets::Ends> ends = channelClosed;
  uint32_t generations[2] = {};
  onLoop([&](Network& network, Loop& loop) {
    ends = network.pair(pairOptions, first, second);
    if (!ends) return;
    generations[0] = loop.engine().generation(ends->first);
    generations[1] = loop.engine().generation(ends->second);
  });
  if (!ends) return values::failure(env, ends.error());
  auto result = Napi::Array::New(env);
  result.Set(0u, handle(env, ends->first, generations[0]));
  result.Set(1u, handle(env, ends->second, generations[1]));
  return result;
}

Napi::Value Channel::adopt(const Napi::CallbackInfo& info) {
  const auto options = info[0].As<Napi::Object>();
  const auto config = values::connectionConfig(options);
  const auto fd = static_cast<int>(values::number(options, "fd"));
  Result<Slot> slot = channelClosed;
  uint32_t generation = 0;
  onLoop([&](Network& network, Loop& loop) {
    slot = network.adopt(fd, config);
    if (slot) generation = loop.engine().generation(*slot);
  });
  return handle(info.Env(), slot, generation);
}

}  // namespace sluice
