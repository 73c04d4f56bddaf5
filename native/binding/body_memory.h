#pragma once

#include <napi.h>

namespace sluice::body_memory {

/// (sizeBytes) → ArrayBuffer, whose memory goes to the next one when it has been collected; what is in it is left over.
/// undefined where there is none to be had so.
Napi::Value take(const Napi::CallbackInfo& info);

}  // namespace sluice::body_memory
