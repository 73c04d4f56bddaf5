#pragma once

#include <napi.h>

#include <memory>

#include "net/tls_config.h"

namespace sluice {

/// Everything of TLS that is no connection: `tls` in src/native/binding.ts, which says what each function takes and
/// returns. Failures are returned as values, see values::tlsFailure(). But for check(), no function may be called before
/// check() has answered without a failure.
Napi::Object tlsBinding(Napi::Env env);

/// Reads the `tls` of listen(), connect() and startTls(): NativeTlsConfig in src/native/binding.ts. undefined and null
/// give nullptr. False: the value is none of these, which only happens while a worker thread is being terminated.
bool tlsConfigFrom(const Napi::Value& value, std::shared_ptr<const TlsConfig>& config);

}  // namespace sluice
