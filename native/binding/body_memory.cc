#include "binding/body_memory.h"

#include <node_api.h>

#include "buffer/block_pool.h"

namespace sluice::body_memory {

namespace {

// Collections come in bursts of about so much.
constexpr size_t mostFreeBytes = 64 << 20;

// Never destroyed: at the end of the process buffers may be collected after static objects are gone.
BlockPool& pool() {
  static BlockPool& shared = *new BlockPool(mostFreeBytes);
  return shared;
}

}  // namespace

Napi::Value take(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto sizeBytes = static_cast<size_t>(info[0].As<Napi::Number>().Int64Value());
  uint8_t* memory = pool().take(sizeBytes);
  if (memory == nullptr) return env.Undefined();
  napi_value buffer = nullptr;
  const napi_status made = napi_create_external_arraybuffer(
      env, memory, sizeBytes,
      [](napi_env, void* data, void* hint) {
        pool().giveBack(static_cast<uint8_t*>(data), reinterpret_cast<size_t>(hint));
      },
      reinterpret_cast<void*>(sizeBytes), &buffer);
  if (made == napi_ok) return {env, buffer};
  // Some hosts of Node's interface have no memory but their own.
  pool().giveBack(memory, sizeBytes);
  return env.Undefined();
}

}  // namespace sluice::body_memory
