#include "binding/channel.h"

#include <cerrno>

#include "binding/inline_driver.h"
#include "binding/thread_driver.h"
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

Napi::Value Channel::flush(const Napi::CallbackInfo& info) {
  if (driver_) driver_->flush();
  return info.Env().Undefined();
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
