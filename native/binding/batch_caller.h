#pragma once

#include <node_api.h>

#include <cstdint>
#include <span>
#include <vector>

#include "loop/records.h"

namespace sluice {

/// JavaScript's end of one channel: its batch function, and the memory where it stages operations.
///
/// Threads: Node's thread of this environment.
class BatchCaller {
 public:
  struct Memory {
    std::span<OpRecord> ops;
    std::span<uint8_t> out;
    int32_t* control = nullptr;
    napi_ref references = nullptr;  // array of the bytes written by reference
  };

  BatchCaller(napi_env env, napi_ref receiver, napi_ref batch, const Memory& memory);
  BatchCaller(const BatchCaller&) = delete;
  BatchCaller& operator=(const BatchCaller&) = delete;

  /// Calls batch(first, count), then lets ticks and microtasks run. What the user's code throws there becomes an
  /// uncaught exception. Does nothing once the environment can run no JavaScript any more.
  void call(uint32_t first, uint32_t count);

  std::span<const OpRecord> stagedOps() const {
    return memory_.ops.first(static_cast<size_t>(memory_.control[controlOpCount]));
  }
  std::span<const uint8_t> stagedOut() const {
    return memory_.out.first(static_cast<size_t>(memory_.control[controlOutBytes]));
  }
  bool hasStaged() const { return memory_.control[controlOpCount] != 0; }
  /// Appends the addresses of the staged writes by reference, in their order. Nothing stays staged when they cannot be
  /// had, because the environment is being terminated.
  void resolveReferences(std::vector<const uint8_t*>& addresses);
  void clearStaged();
  void setInTurn(bool inTurn) { memory_.control[controlInTurn] = inTurn ? 1 : 0; }

  /// Lets go of everything held in JavaScript. No call afterwards.
  void release();

 private:
  napi_env env_;
  napi_ref receiver_, batch_;
  napi_async_context context_ = nullptr;
  Memory memory_;
};

}  // namespace sluice
