#pragma once

#include <napi.h>

namespace sluice::descriptors {

/// Adds to the addon: passDescriptors(socket, descriptors, text), takeDescriptors(path, timeoutMs) and
/// closeDescriptor(descriptor); the first two answer with a failure, or with nothing and { socket, descriptors, text }.
void exportTo(Napi::Env env, Napi::Object exports);

}  // namespace sluice::descriptors
