#pragma once

#include <napi.h>

#include <memory>

#include "tls/options.h"
#include "tls/tls_error.h"

namespace sluice {

/// Appends to a file, one write(2) per line, so that threads and processes may share it. Errors: invalidOption when it
/// cannot be opened.
TlsResult<std::shared_ptr<TlsKeylogSink>> keylogToFile(const std::string& path);
/// Calls a JavaScript function with each line as a string, on its own thread and some time later; does not keep that
/// thread's event loop alive. When its environment has ended, lines are dropped.
std::shared_ptr<TlsKeylogSink> keylogToFunction(const Napi::Function& callback);

}  // namespace sluice
