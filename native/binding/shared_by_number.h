#pragma once

#include <napi.h>

#include <map>
#include <memory>
#include <mutex>

#include "binding/tls_handles.h"

namespace sluice {

/// Objects of one kind that Node's worker threads find by a number, for as long as somebody has them.
template <class T>
class SharedByNumber {
 public:
  /// (handle): its number.
  static Napi::Value share(const Napi::CallbackInfo& info) {
    const auto object = handleOf<T>(info[0]);
    return Napi::Number::New(info.Env(), object ? instance().numberOf(object) : 0);
  }
  /// (number): the handle, or undefined.
  static Napi::Value find(const Napi::CallbackInfo& info) {
    auto object = instance().objectOf(info[0].As<Napi::Number>().Uint32Value());
    return object ? newHandle(info.Env(), std::move(object)) : info.Env().Undefined();
  }

 private:
  static SharedByNumber& instance() {
    static auto* shared = new SharedByNumber();
    return *shared;
  }
  uint32_t numberOf(const std::shared_ptr<T>& object) {
    const std::lock_guard lock(mutex_);
    for (auto it = byNumber_.begin(); it != byNumber_.end();) {
      const auto known = it->second.lock();
      if (known == object) return it->first;
      it = known ? std::next(it) : byNumber_.erase(it);
    }
    byNumber_.emplace(++last_, object);
    return last_;
  }
  std::shared_ptr<T> objectOf(uint32_t number) {
    const std::lock_guard lock(mutex_);
    const auto found = byNumber_.find(number);
    return found == byNumber_.end() ? nullptr : found->second.lock();
  }

  std::mutex mutex_;
  std::map<uint32_t, std::weak_ptr<T>> byNumber_;
  uint32_t last_ = 0;
};

}  // namespace sluice
