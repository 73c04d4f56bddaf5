#include "binding/batch_caller.h"

namespace sluice {

BatchCaller::BatchCaller(napi_env env, napi_ref receiver, napi_ref batch, const Memory& memory)
    : env_(env), receiver_(receiver), batch_(batch), memory_(memory) {
  napi_value name;
  napi_create_string_utf8(env_, "sluice", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env_, nullptr, name, &context_);
}

void BatchCaller::call(uint32_t first, uint32_t count) {
  if (batch_ == nullptr) return;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  napi_value receiver, batch, result, arguments[2];
  napi_get_reference_value(env_, receiver_, &receiver);
  napi_get_reference_value(env_, batch_, &batch);
  napi_create_uint32(env_, first, &arguments[0]);
  napi_create_uint32(env_, count, &arguments[1]);
  if (napi_make_callback(env_, context_, receiver, batch, 2, arguments, &result) == napi_pending_exception) {
    napi_value exception;
    if (napi_get_and_clear_last_exception(env_, &exception) == napi_ok) napi_fatal_exception(env_, exception);
  }
  napi_close_handle_scope(env_, scope);
}

void BatchCaller::resolveReferences(std::vector<const uint8_t*>& addresses) {
  if (memory_.control[controlReferenceCount] == 0) return;
  napi_handle_scope scope;
  napi_open_handle_scope(env_, &scope);
  napi_value array;
  napi_get_reference_value(env_, memory_.references, &array);
  for (const OpRecord& op : stagedOps()) {
    const auto type = static_cast<OpType>(op.head & opTypeMask);
    if (type != OpType::writeReference && type != OpType::writeFile) continue;
    napi_value bytes = nullptr;
    void* data = nullptr;
    if (napi_get_element(env_, array, static_cast<uint32_t>(op.a), &bytes) != napi_ok ||
        napi_get_typedarray_info(env_, bytes, nullptr, nullptr, &data, nullptr, nullptr) != napi_ok) {
      clearStaged();
      addresses.clear();
      break;
    }
    addresses.push_back(static_cast<const uint8_t*>(data));
  }
  napi_close_handle_scope(env_, scope);
}

void BatchCaller::clearStaged() {
  memory_.control[controlOpCount] = 0;
  memory_.control[controlOutBytes] = 0;
  memory_.control[controlReferenceCount] = 0;
}

void BatchCaller::release() {
  if (batch_ == nullptr) return;
  napi_delete_reference(env_, batch_);
  napi_delete_reference(env_, receiver_);
  napi_delete_reference(env_, memory_.references);
  napi_async_destroy(env_, context_);
  batch_ = receiver_ = nullptr;
}

}  // namespace sluice
