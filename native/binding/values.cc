#include "binding/values.h"

#include <sys/socket.h>

#include "binding/opening_values.h"
#include "binding/rate_limits.h"

namespace sluice::values {

uint32_t number(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  return value.IsNumber() ? static_cast<uint32_t>(value.As<Napi::Number>().Int64Value()) : 0;
}

double real(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  return value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0;
}

bool flag(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  return value.IsBoolean() && value.As<Napi::Boolean>().Value();
}

bool has(const Napi::Object& object, const char* key) { return !object.Get(key).IsUndefined(); }

std::string text(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
}

SocketOptions socketOptions(const Napi::Object& object, const char* key) {
  SocketOptions options;
  const Napi::Value value = object.Get(key);
  if (!value.IsArray()) return options;
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value item = list.Get(i);
    if (!item.IsArray()) break;
    const auto pair = item.As<Napi::Array>();
    const Napi::Value kind = pair.Get(0u), content = pair.Get(1u);
    if (!kind.IsNumber() || content.IsUndefined()) break;
    SocketOptionValue option{static_cast<SocketOption>(kind.As<Napi::Number>().Uint32Value()), 0, {}};
    if (content.IsString()) option.text = content.As<Napi::String>().Utf8Value();
    else option.number = content.As<Napi::Number>().Int32Value();
    options.push_back(std::move(option));
  }
  return options;
}

ConnectionConfig connectionConfig(const Napi::Object& object) {
  ConnectionConfig config;
  config.readTimeoutMs = number(object, "readTimeoutMs");
  config.writeTimeoutMs = number(object, "writeTimeoutMs");
  config.halfClosedTimeoutMs = number(object, "halfClosedTimeoutMs");
  config.lowWaterBytes = number(object, "lowWaterBytes");
  config.startPaused = flag(object, "startPaused");
  config.rate = rate_limits::readBinding(object);
  config.opening = openingPlan(object.Get("opening"));
  return config;
}

Napi::Object failure(Napi::Env env, const Error& error) {
  auto result = Napi::Object::New(env);
  const auto name = errorCodeName(error.code);
  result.Set("codeName", Napi::String::New(env, name.data(), name.size()));
  result.Set("errno", error.osError);
  result.Set("syscall", error.syscall);
  return result;
}

Napi::Object address(Napi::Env env, const SocketAddress& address) {
  auto result = Napi::Object::New(env);
  const std::string host = address.host();
  if (address.family() == AF_UNIX || address.family() == AF_UNSPEC) {
    result.Set("path", Napi::String::New(env, host));
    return result;
  }
  result.Set("address", Napi::String::New(env, host));
  result.Set("port", static_cast<uint32_t>(address.port()));
  result.Set("family", address.family() == AF_INET6 ? "IPv6" : "IPv4");
  return result;
}

Napi::Object features(Napi::Env env, const EngineFeatures& features) {
  auto result = Napi::Object::New(env);
  const char* wake = features.wakeStyle == WakeStyle::descriptor ? "descriptor"
                     : features.wakeStyle == WakeStyle::thread   ? "thread"
                                                                 : "virtual time";
  result.Set("wakeStyle", wake);
  result.Set("virtualClock", features.virtualClock);
  result.Set("batchedSubmission", features.batchedSubmission);
  result.Set("multishotAccept", features.multishotAccept);
  result.Set("multishotReceive", features.multishotReceive);
  result.Set("incrementalBuffers", features.incrementalBuffers);
  result.Set("limitedReceives", features.limitedReceives);
  result.Set("unixSockets", features.unixSockets);
  result.Set("sendsFiles", features.sendsFiles);
  return result;
}

Napi::Object tcpInfo(Napi::Env env, const TcpInfo& info) {
  auto result = Napi::Object::New(env);
  const auto set = [&result](const char* key, auto value) { result.Set(key, static_cast<double>(value)); };
  set("state", info.state);
  set("rttUs", info.rttUs);
  set("rttVarianceUs", info.rttVarianceUs);
  set("minRttUs", info.minRttUs);
  set("sendWindowSegments", info.sendWindowSegments);
  set("slowStartThresholdSegments", info.slowStartThresholdSegments);
  set("sendSegmentBytes", info.sendSegmentBytes);
  set("receiveSegmentBytes", info.receiveSegmentBytes);
  set("unackedSegments", info.unackedSegments);
  set("lostSegments", info.lostSegments);
  set("retransmits", info.retransmits);
  set("totalRetransmits", info.totalRetransmits);
  set("receiveSpaceBytes", info.receiveSpaceBytes);
  set("notSentBytes", info.notSentBytes);
  set("bytesAcked", info.bytesAcked);
  set("bytesReceived", info.bytesReceived);
  set("deliveryRateBytesPerSecond", info.deliveryRateBytesPerSecond);
  set("pacingRateBytesPerSecond", info.pacingRateBytesPerSecond);
  return result;
}

}  // namespace sluice::values
