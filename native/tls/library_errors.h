#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tls/tls_error.h"

namespace sluice {

/// OpenSSL's error queue of this thread, emptied: the packed code of the oldest entry of libssl (else of the oldest, 0 if
/// there is none), and all of them as text, the oldest first.
struct LibraryErrors {
  uint32_t code = 0;
  std::string text;

  static LibraryErrors take();
  /// Reason within its library, e.g. SSL_R_NO_SHARED_CIPHER.
  int reason() const;
  bool isFrom(int library) const;
};

/// A wrong option; empties the error queue, and adds what OpenSSL says of it to `text`.
TlsError optionError(TlsFailure failure, std::string option, std::string text);
TlsError outOfMemory(TlsStage stage);

/// What a failed verification (X509_V_ERR_…) at `depth` (0: the leaf) means.
TlsError verifyError(int verifyCode, int depth);

/// What an error of OpenSSL during `stage` means.
TlsError sessionError(TlsStage stage, const LibraryErrors& errors);

}  // namespace sluice
