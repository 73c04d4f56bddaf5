#include "binding/channel.h"

#include <cerrno>

#include "binding/gates.h"
#include "binding/inline_driver.h"
#include "binding/opening_values.h"
#include "binding/proxy_values.h"
#include "binding/rate_limits.h"
#include "binding/thread_driver.h"
#include "binding/tls_binding.h"
#include "binding/tls_values.h"
#include "binding/values.h"
#include "engine/sim_options.h"

namespace sluice {

Napi::Function Channel::define(Napi::Env env) {
  return DefineClass(env, "Channel",
                     {
                         InstanceMethod<&Channel::start>("start"),
                         InstanceMethod<&Channel::flush>("flush"),
                         InstanceMethod<&Channel::listen>("listen"),
                         InstanceMethod<&Channel::listenerFd>("listenerFd"),
                         InstanceMethod<&Channel::connectionFd>("connectionFd"),
                         InstanceMethod<&Channel::listenerStats>("listenerStats"),
                         InstanceMethod<&Channel::closeListener>("closeListener"),
                         InstanceMethod<&Channel::connect>("connect"),
                         InstanceMethod<&Channel::pair>("pair"),
                         InstanceMethod<&Channel::adopt>("adopt"),
                         InstanceMethod<&Channel::startTls>("startTls"),
                         InstanceMethod<&Channel::tlsInfo>("tlsInfo"),
                         InstanceMethod<&Channel::tlsExport>("tlsExport"),
                         InstanceMethod<&Channel::tlsBinding>("tlsBinding"),
                         InstanceMethod<&Channel::tlsSession>("tlsSession"),
                         InstanceMethod<&Channel::tlsPeerCertificates>("tlsPeerCertificates"),
                         InstanceMethod<&Channel::tlsOwnCertificate>("tlsOwnCertificate"),
                         InstanceMethod<&Channel::tlsOcspResponse>("tlsOcspResponse"),
                         InstanceMethod<&Channel::setLowWater>("setLowWater"),
                         InstanceMethod<&Channel::relay>("relay"),
                         InstanceMethod<&Channel::relayNumbers>("relayNumbers"),
                         InstanceMethod<&Channel::setOperationBounds>("setOperationBounds"),
                         InstanceMethod<&Channel::setTimeouts>("setTimeouts"),
                         InstanceMethod<&Channel::setRateLimit>("setRateLimit"),
                         InstanceMethod<&Channel::setRateGroup>("setRateGroup"),
                         InstanceMethod<&Channel::debitRate>("debitRate"),
                         InstanceMethod<&Channel::rateStanding>("rateStanding"),
                         InstanceMethod<&Channel::setOptions>("setOptions"),
                         InstanceMethod<&Channel::tcpInfo>("tcpInfo"),
                         InstanceMethod<&Channel::endpoints>("endpoints"),
                         InstanceMethod<&Channel::proxyHeader>("proxyHeader"),
                         InstanceMethod<&Channel::ruleMarks>("ruleMarks"),
                         InstanceMethod<&Channel::connectionStats>("connectionStats"),
                         InstanceMethod<&Channel::stats>("stats"),
                         InstanceMethod<&Channel::nowMs>("nowMs"),
                         InstanceMethod<&Channel::destroyAll>("destroyAll"),
                         InstanceMethod<&Channel::reference>("reference"),
                         InstanceMethod<&Channel::close>("close"),
                     });
}

Channel::Channel(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Channel>(info) {}

Channel::~Channel() = default;

namespace {

// The simulated network's options, by name; unknown names were refused in TypeScript.
SimOptions readSimOptions(const Napi::Value& value) {
  SimOptions options;
  if (!value.IsObject()) return options;
  const auto object = value.As<Napi::Object>();
  const Napi::Array names = object.GetPropertyNames();
  if (names.IsEmpty()) return options;
  for (uint32_t i = 0; i < names.Length(); i++) {
    const Napi::Value item = names.Get(i);
    if (!item.IsString()) break;
    const std::string name = item.As<Napi::String>().Utf8Value();
    setSimOption(options, name, values::real(object, name.c_str()));
  }
  return options;
}

napi_ref keep(Napi::Env env, const Napi::Value& value) {
  napi_ref reference = nullptr;
  napi_create_reference(env, value, 1, &reference);
  return reference;
}

}  // namespace

Napi::Value Channel::start(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto options = info[0].As<Napi::Object>();
  const bool threaded = values::flag(options, "threaded");
  const uint32_t frames = threaded ? values::number(options, "frames") : 1;

  LoopMemory memory;
  // The engine's part comes first, then that of layers.
  const std::span<uint8_t> slab = values::memory<uint8_t>(options.Get("slab"));
  memory.slab = slab.first(std::min<size_t>(slab.size(), values::number(options, "receiveBytes")));
  memory.plain = slab.subspan(memory.slab.size());
  memory.events = values::memory<EventRecord>(options.Get("events"));
  memory.taken = values::memory<int32_t>(options.Get("taken"));
  EngineOptions engineOptions;
  engineOptions.slab = memory.slab;
  engineOptions.receiveChunkBytes = values::number(options, "receiveChunkBytes");
  engineOptions.receiveTurnBytes = values::number(options, "receiveTurnBytes");
  engineOptions.acceptTurnCount = values::number(options, "acceptTurnCount");
  const SimOptions sim = readSimOptions(options.Get("sim"));
  BatchCaller::Memory staging;
  staging.ops = values::memory<OpRecord>(options.Get("ops"));
  staging.out = values::memory<uint8_t>(options.Get("out"));
  staging.control = values::memory<int32_t>(options.Get("control")).data();
  const Napi::Value references = options.Get("references"), batch = options.Get("batch");
  // A worker thread that is being terminated cannot read all this, and nobody there takes an answer.
  if (!batch.IsFunction()) return env.Undefined();
  auto engine = makeEngine(values::text(options, "engine"), engineOptions, &sim);
  if (!engine) return values::failure(env, engine.error());
  if (threaded && (*engine)->features().virtualClock) {
    return values::failure(env, {ErrorCode::notSupported, 0, "simulated engine on a thread"});
  }
  engineName_ = (*engine)->name();

  staging.references = keep(env, references);
  // `options` holds every piece of shared memory, so one reference to it keeps them all.
  caller_ = std::make_unique<BatchCaller>(env, keep(env, options), keep(env, batch), staging);

  uv_loop_t* uv = nullptr;
  napi_get_uv_event_loop(env, &uv);
  auto loop = std::make_unique<Loop>(std::move(*engine), memory, frames);
  if (threaded) driver_ = std::make_unique<ThreadDriver>(uv, std::move(loop), *caller_);
  else driver_ = InlineDriver::create(uv, std::move(loop), *caller_);
  if (!driver_) {
    caller_->release();
    return values::failure(env, {ErrorCode::notPollable, EPERM, "uv_poll_init"});
  }
  if (const uint32_t count = values::number(options, "handshakeThreads"); count > 0) {
    driver_->call([count](Network& network, Loop&) { network.useHandshakeThreads(count); });
  }
  napi_add_async_cleanup_hook(env, onEnvironmentExit, this, &cleanup_);
  Ref();  // until closed
  return Napi::String::New(env, engineName_);
}

template <class Task>
void Channel::onLoop(Task task) {
  if (!driver_) return;
  // What was staged before comes first, e.g. the end of a connection whose numbers are asked for.
  driver_->flush();
  driver_->call(task);
}

Napi::Value Channel::flush(const Napi::CallbackInfo& info) {
  if (driver_) driver_->flush();
  return info.Env().Undefined();
}

namespace {

Result<SocketAddress> readAddress(const Napi::Object& spec, const char* pathKey, const char* hostKey,
                                  const char* portKey) {
  if (values::has(spec, pathKey)) return SocketAddress::unixPath(values::text(spec, pathKey));
  return SocketAddress::ip(values::text(spec, hostKey), static_cast<uint16_t>(values::number(spec, portKey)));
}

const Error channelClosed{ErrorCode::closed, 0, ""};

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

namespace {

struct Target {
  Slot slot;
  uint32_t tag;
  explicit Target(const Napi::CallbackInfo& info, size_t at = 0)
      : slot(info[at].As<Napi::Number>().Uint32Value()),
        tag(static_cast<uint32_t>(info[at + 1].As<Napi::Number>().Int32Value())) {}

  // Only while the engine has the socket.
  Connection* in(Network& network) const {
    Connection* connection = network.find(slot, tag);
    return connection != nullptr && (connection->live() || connection->state == ConnectionState::connecting)
               ? connection
               : nullptr;
  }
};

}  // namespace

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

Napi::Value Channel::setLowWater(const Napi::CallbackInfo& info) {
  const Target target(info);
  const auto bytes = info[2].As<Napi::Number>().Uint32Value();
  onLoop([&](Network& network, Loop&) {
    if (Connection* connection = target.in(network)) network.setLowWater(target.slot, *connection, bytes);
  });
  return info.Env().Undefined();
}

// (two connections by slot and tag; per connection what may wait for it, and when there is room again; two timeouts): the
// relay's number.
Napi::Value Channel::relay(const Napi::CallbackInfo& info) {
  const Target first(info), second(info, 2);
  const auto number = [&info](size_t index) { return info[index].As<Napi::Number>().Uint32Value(); };
  const RelayBounds bounds{.highWaterBytes = {number(4), number(6)},
                           .lowWaterBytes = {number(5), number(7)},
                           .tunnelTimeoutMs = number(8),
                           .finTimeoutMs = number(9)};
  Result<uint32_t> id = channelClosed;
  onLoop([&](Network& network, Loop&) {
    if (first.in(network) == nullptr || second.in(network) == nullptr) return;
    id = network.relay(first.slot, second.slot, bounds);
  });
  if (!id) return values::failure(info.Env(), id.error());
  return Napi::Number::New(info.Env(), *id);
}

Napi::Value Channel::relayNumbers(const Napi::CallbackInfo& info) {
  const auto id = info[0].As<Napi::Number>().Uint32Value();
  bool found = false;
  RelayNumbers numbers;
  onLoop([&](Network& network, Loop&) { found = network.relayNumbers(id, numbers); });
  if (!found) return info.Env().Undefined();
  auto result = Napi::Array::New(info.Env());
  for (uint32_t side = 0; side < 2; side++) { result.Set(side, static_cast<double>(numbers.bytes[side])); }
  return result;
}

Napi::Value Channel::setOperationBounds(const Napi::CallbackInfo& info) {
  const Target target(info);
  const OperationBounds bounds{info[2].As<Napi::Number>().Uint32Value(), info[3].As<Napi::Number>().Uint32Value()};
  onLoop([&](Network& network, Loop&) {
    if (Connection* connection = target.in(network)) network.setOperationBounds(target.slot, *connection, bounds);
  });
  return info.Env().Undefined();
}

Napi::Value Channel::setTimeouts(const Napi::CallbackInfo& info) {
  const Target target(info);
  const auto ms = [&info](size_t index) { return info[index].As<Napi::Number>().Uint32Value(); };
  onLoop([&](Network& network, Loop&) {
    if (Connection* connection = target.in(network))
      network.setTimeouts(target.slot, *connection, ms(2), ms(3), ms(4));
  });
  return info.Env().Undefined();
}

Napi::Value Channel::setRateLimit(const Napi::CallbackInfo& info) {
  const Target target(info);
  const auto limit = rate_limits::readOwnLimit(info[2]);
  onLoop([&](Network& network, Loop&) {
    if (Connection* connection = target.in(network)) network.setRateLimit(target.slot, *connection, limit);
  });
  return info.Env().Undefined();
}

Napi::Value Channel::setRateGroup(const Napi::CallbackInfo& info) {
  const Target target(info);
  const auto group = rate_limits::readGroup(info[2]);
  onLoop([&](Network& network, Loop&) {
    if (Connection* connection = target.in(network)) network.setRateGroup(target.slot, *connection, group);
  });
  return info.Env().Undefined();
}

Napi::Value Channel::debitRate(const Napi::CallbackInfo& info) {
  const Target target(info);
  const Direction direction = rate_limits::readDirection(info[2]);
  const int64_t bytes = info[3].As<Napi::Number>().Int64Value();
  bool done = false;
  onLoop([&](Network& network, Loop&) {
    if (Connection* connection = target.in(network)) {
      done = network.debitRate(target.slot, *connection, direction, bytes);
    }
  });
  return Napi::Boolean::New(info.Env(), done);
}

Napi::Value Channel::rateStanding(const Napi::CallbackInfo& info) {
  const Target target(info);
  bool found = false;
  RateStanding standing;
  onLoop([&](Network& network, Loop&) {
    if (Connection* connection = target.in(network)) {
      found = true;
      standing = network.rateStanding(*connection);
    }
  });
  return found ? rate_limits::standing(info.Env(), standing) : info.Env().Undefined();
}

Napi::Value Channel::setOptions(const Napi::CallbackInfo& info) {
  const Target target(info);
  const auto options = values::socketOptions(info[2].As<Napi::Object>(), "options");
  Result<void> result = channelClosed;
  onLoop([&](Network& network, Loop& loop) {
    const Connection* connection = target.in(network);
    if (connection == nullptr) return;
    if (connection->local) {
      result = Network::noSocket;
      return;
    }
    result = Result<void>();
    for (const SocketOptionValue& option : options) {
      result = loop.engine().setOption(target.slot, option);
      if (!result) return;
    }
  });
  return result ? info.Env().Undefined() : values::failure(info.Env(), result.error());
}

Napi::Value Channel::connectionFd(const Napi::CallbackInfo& info) {
  const Target target(info);
  int fd = -1;
  onLoop([&](Network& network, Loop& loop) {
    const Connection* connection = target.in(network);
    if (connection != nullptr && !connection->local) fd = loop.engine().fd(target.slot);
  });
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value Channel::tcpInfo(const Napi::CallbackInfo& info) {
  const Target target(info);
  Result<TcpInfo> result = channelClosed;
  onLoop([&](Network& network, Loop& loop) {
    const Connection* connection = target.in(network);
    if (connection == nullptr) return;
    if (connection->local) result = Network::noSocket;
    else result = loop.engine().tcpInfo(target.slot);
  });
  return result ? values::tcpInfo(info.Env(), *result) : values::failure(info.Env(), result.error());
}

Napi::Value Channel::endpoints(const Napi::CallbackInfo& info) {
  const Target target(info);
  Result<SocketAddress> local = channelClosed, remote = channelClosed;
  onLoop([&](Network& network, Loop& loop) {
    const Connection* connection = target.in(network);
    if (connection == nullptr || connection->local) return;
    local = loop.engine().localAddress(target.slot);
    remote = loop.engine().peerAddress(target.slot);
  });
  auto result = Napi::Object::New(info.Env());
  if (local) result.Set("local", values::address(info.Env(), *local));
  if (remote) result.Set("remote", values::address(info.Env(), *remote));
  return result;
}

Napi::Value Channel::proxyHeader(const Napi::CallbackInfo& info) {
  const Target target(info);
  std::optional<ProxyHeader> header;
  onLoop([&](Network& network, Loop&) {
    const Connection* connection = network.find(target.slot, target.tag);
    if (connection == nullptr || !connection->opening || connection->opening->claimed() == nullptr) return;
    header = *connection->opening->claimed();
  });
  return header ? values::proxyHeader(info.Env(), *header) : info.Env().Undefined();
}

Napi::Value Channel::ruleMarks(const Napi::CallbackInfo& info) {
  const Target target(info);
  bool found = false;
  values::ShownMarks marks;
  onLoop([&](Network& network, Loop&) {
    const Connection* connection = network.find(target.slot, target.tag);
    if (connection == nullptr || !connection->opening || !connection->opening->marks) return;
    found = true;
    marks = values::ShownMarks(*connection->opening->marks);
  });
  return found ? values::ruleMarks(info.Env(), marks) : info.Env().Undefined();
}

Napi::Value Channel::connectionStats(const Napi::CallbackInfo& info) {
  const Target target(info);
  uint64_t bytesRead = 0, bytesWritten = 0, queued = 0;
  onLoop([&](Network& network, Loop&) {
    if (const Connection* connection = network.find(target.slot, target.tag)) {
      bytesRead = connection->bytesRead;
      bytesWritten = connection->bytesWritten;
      queued = Network::unsentBytes(*connection);
    }
  });
  auto result = Napi::Object::New(info.Env());
  result.Set("bytesRead", static_cast<double>(bytesRead));
  result.Set("bytesWritten", static_cast<double>(bytesWritten));
  result.Set("queuedBytes", static_cast<double>(queued));
  return result;
}

Napi::Value Channel::stats(const Napi::CallbackInfo& info) {
  auto result = Napi::Object::New(info.Env());
  EngineCounters counters;
  uint64_t turns = 0, completions = 0;
  uint32_t connections = 0;
  onLoop([&](Network& network, Loop& loop) {
    counters = loop.engine().counters();
    turns = loop.turns();
    completions = loop.completions();
    connections = network.openConnections();
  });
  const auto set = [&result](const char* key, uint64_t value) { result.Set(key, static_cast<double>(value)); };
  set("connections", connections);
  set("turns", turns);
  set("completions", completions);
  set("waits", counters.waits);
  set("kernelEvents", counters.kernelEvents);
  set("staleEvents", counters.staleEvents);
  set("interestChanges", counters.interestChanges);
  set("receives", counters.receives);
  set("sends", counters.sends);
  set("receivesWithoutData", counters.receivesWithoutData);
  set("buffersExhausted", counters.buffersExhausted);
  set("multishotRearmed", counters.multishotRearmed);
  set("splices", counters.splices);
  return result;
}

Napi::Value Channel::nowMs(const Napi::CallbackInfo& info) {
  TimeMs now = 0;
  if (driver_) driver_->call([&](Network&, Loop& loop) { now = loop.engine().nowMs(); });
  return Napi::Number::New(info.Env(), static_cast<double>(now));
}

Napi::Value Channel::destroyAll(const Napi::CallbackInfo& info) {
  onLoop([](Network& network, Loop&) { network.destroyAll(); });
  return info.Env().Undefined();
}

Napi::Value Channel::reference(const Napi::CallbackInfo& info) {
  if (driver_) driver_->reference(info[0].As<Napi::Boolean>().Value());
  return info.Env().Undefined();
}

Napi::Value Channel::close(const Napi::CallbackInfo& info) {
  shutDown(false);
  return info.Env().Undefined();
}

// The handles of libuv close asynchronously; only then may the driver's memory go.
void Channel::shutDown(bool environmentLeaves) {
  if (!driver_) return;
  Driver* driver = driver_.release();
  BatchCaller* caller = caller_.release();
  const napi_async_cleanup_hook_handle cleanup = cleanup_;
  cleanup_ = nullptr;
  driver->close([driver, caller, cleanup] {
    delete driver;
    caller->release();  // not before: until the engine has gone, the kernel may still write to the shared memory
    delete caller;
    napi_remove_async_cleanup_hook(cleanup);
  });
  if (!environmentLeaves) Unref();
}

void Channel::onEnvironmentExit(napi_async_cleanup_hook_handle, void* data) {
  static_cast<Channel*>(data)->shutDown(true);
}

}  // namespace sluice
