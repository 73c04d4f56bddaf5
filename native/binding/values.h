#pragma once

#include <napi.h>

#include <cstdint>
#include <string>

#include "base/address.h"
#include "base/error.h"
#include "engine/engine.h"
#include "net/listener.h"

namespace sluice::values {

/// Options reach native code checked and complete (src/options.ts); these readers only convert. What is absent reads
/// as 0, "" or false; so does everything while a worker thread is being terminated.
uint32_t number(const Napi::Object& object, const char* key);
double real(const Napi::Object& object, const char* key);
bool flag(const Napi::Object& object, const char* key);
bool has(const Napi::Object& object, const char* key);
std::string text(const Napi::Object& object, const char* key);
SocketOptions socketOptions(const Napi::Object& object, const char* key);
ConnectionConfig connectionConfig(const Napi::Object& object);

/// { codeName, errno, syscall }, as src/errors.ts takes it.
Napi::Object failure(Napi::Env env, const Error& error);
/// { address, port, family } or { path }.
Napi::Object address(Napi::Env env, const SocketAddress& address);
Napi::Object features(Napi::Env env, const EngineFeatures& features);
Napi::Object tcpInfo(Napi::Env env, const TcpInfo& info);

/// The span of a typed array's memory; empty when it could not be read.
template <class T>
std::span<T> memory(const Napi::Value& value) {
  if (!value.IsTypedArray()) return {};
  const auto array = value.As<Napi::TypedArray>();
  auto* bytes = static_cast<uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset();
  return {reinterpret_cast<T*>(bytes), array.ByteLength() / sizeof(T)};
}

inline Napi::String string(Napi::Env env, std::string_view text) {
  return Napi::String::New(env, text.data(), text.size());
}

}  // namespace sluice::values
