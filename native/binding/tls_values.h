#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "tls/options.h"
#include "tls/session.h"
#include "tls/tls_error.h"

namespace sluice::values {

/// The bytes of a string (UTF-8) or typed array; "" for anything else.
std::string bytesOf(const Napi::Value& value);
std::string bytes(const Napi::Object& object, const char* key);
/// The same for each item of an array.
std::vector<std::string> bytesList(const Napi::Object& object, const char* key);

/// A Buffer with a copy of `bytes`; undefined when there are none.
Napi::Value buffer(Napi::Env env, const std::string& bytes);
Napi::Value bufferList(Napi::Env env, const std::vector<std::string>& list);

/// { failure, stage, reason, option, text, libraryCode, verifyCode, alert }, as src/errors.ts takes it.
Napi::Object tlsFailure(Napi::Env env, const TlsError& error);
/// The fields of TlsInfo, and `verifyFailure`, a tlsFailure(), when the peer's certificate did not verify. `verifyError`
/// is what TlsSession::verifyResult() filled in.
Napi::Object tlsInfo(Napi::Env env, const TlsInfo& info, const TlsError& verifyError);

/// The options of a policy. They are checked and complete (src/tls/native-options.ts). Errors: invalidOption for a key
/// log that cannot be written.
TlsResult<TlsOptions> tlsOptions(const Napi::Object& object);

}  // namespace sluice::values
