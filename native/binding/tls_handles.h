#pragma once

#include <napi.h>

#include <memory>
#include <utility>

namespace sluice {

/// A shared object in JavaScript's hands, opaque there. Only src/tls/ gets to see it, and passes back nothing else; so
/// a handle needs no tag that says what it is of.
template <class T>
Napi::Value newHandle(Napi::Env env, std::shared_ptr<T> object) {
  using Shared = std::shared_ptr<T>;
  return Napi::External<Shared>::New(env, new Shared(std::move(object)),
                                     [](Napi::Env, Shared* owned) { delete owned; });
}

/// nullptr for anything that is no handle.
template <class T>
std::shared_ptr<T> handleOf(const Napi::Value& value) {
  return value.IsExternal() ? *value.As<Napi::External<std::shared_ptr<T>>>().Data() : nullptr;
}

}  // namespace sluice
