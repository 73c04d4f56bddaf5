#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/assert.h"

namespace sluice {

/// What went wrong in TLS, as users see it: `ERR_SLUICE_TLS_` plus the upper-case name. Stable for ever; new ones go
/// to the end of their group. The list stands once, here.
#define SLUICE_TLS_FAILURES(X)                                        \
  X(none, "NONE")                                                     \
  /* The library, and options. */                                     \
  X(unavailable, "UNAVAILABLE")                                       \
  X(invalidOption, "INVALID_OPTION")                                  \
  X(badCertificateData, "BAD_CERTIFICATE_DATA")                       \
  X(badKeyData, "BAD_KEY_DATA")                                       \
  X(passphraseMissing, "PASSPHRASE_MISSING")                          \
  X(passphraseWrong, "PASSPHRASE_WRONG")                              \
  X(keyMismatch, "KEY_MISMATCH")                                      \
  X(keyTooWeak, "KEY_TOO_WEAK")                                       \
  X(badPfxData, "BAD_PFX_DATA")                                       \
  X(badCaData, "BAD_CA_DATA")                                         \
  X(badCrlData, "BAD_CRL_DATA")                                       \
  X(unknownCipher, "UNKNOWN_CIPHER")                                  \
  X(unknownGroup, "UNKNOWN_GROUP")                                    \
  X(unknownSignatureAlgorithm, "UNKNOWN_SIGNATURE_ALGORITHM")         \
  X(badVersionRange, "BAD_VERSION_RANGE")                             \
  X(badTicketKey, "BAD_TICKET_KEY")                                   \
  X(badSession, "BAD_SESSION")                                        \
  X(noTrustStore, "NO_TRUST_STORE")                                   \
  /* The handshake. */                                                \
  X(empty, "EMPTY")                                                   \
  X(aborted, "ABORTED")                                               \
  X(timeout, "TIMEOUT")                                               \
  X(tooMany, "TOO_MANY")                                              \
  X(noMemory, "NO_MEMORY")                                            \
  X(notTls, "NOT_TLS")                                                \
  X(unsupportedVersion, "UNSUPPORTED_VERSION")                        \
  X(noCommonCipher, "NO_COMMON_CIPHER")                               \
  X(noCommonProtocol, "NO_COMMON_PROTOCOL")                           \
  X(unrecognizedName, "UNRECOGNIZED_NAME")                            \
  X(handshakeTooLarge, "HANDSHAKE_TOO_LARGE")                         \
  X(handshakeFailed, "HANDSHAKE_FAILED")                              \
  X(peerAlert, "PEER_ALERT")                                          \
  /* The peer's certificate. */                                       \
  X(certificateMissing, "CERTIFICATE_MISSING")                        \
  X(certificateExpired, "CERTIFICATE_EXPIRED")                        \
  X(certificateNotYetValid, "CERTIFICATE_NOT_YET_VALID")              \
  X(certificateSelfSigned, "CERTIFICATE_SELF_SIGNED")                 \
  X(certificateSelfSignedInChain, "CERTIFICATE_SELF_SIGNED_IN_CHAIN") \
  X(certificateUnknownIssuer, "CERTIFICATE_UNKNOWN_ISSUER")           \
  X(certificateRevoked, "CERTIFICATE_REVOKED")                        \
  X(certificateNameMismatch, "CERTIFICATE_NAME_MISMATCH")             \
  X(certificateBadPurpose, "CERTIFICATE_BAD_PURPOSE")                 \
  X(certificateBadSignature, "CERTIFICATE_BAD_SIGNATURE")             \
  X(certificateInvalidCa, "CERTIFICATE_INVALID_CA")                   \
  X(certificateChainTooLong, "CERTIFICATE_CHAIN_TOO_LONG")            \
  X(certificateTooWeak, "CERTIFICATE_TOO_WEAK")                       \
  X(certificateInvalid, "CERTIFICATE_INVALID")                        \
  X(crlMissing, "CRL_MISSING")                                        \
  X(crlExpired, "CRL_EXPIRED")                                        \
  X(crlInvalid, "CRL_INVALID")                                        \
  /* Afterwards. */                                                   \
  X(truncated, "TRUNCATED")                                           \
  X(reset, "RESET")                                                   \
  X(renegotiation, "RENEGOTIATION")                                   \
  X(keyUpdateFlood, "KEY_UPDATE_FLOOD")                               \
  X(recordFlood, "RECORD_FLOOD")                                      \
  X(badRecord, "BAD_RECORD")                                          \
  X(closed, "CLOSED")                                                 \
  X(fatal, "FATAL")

enum class TlsFailure : uint8_t {
#define X(name, text) name,
  SLUICE_TLS_FAILURES(X)
#undef X
};

/// The name behind `ERR_SLUICE_TLS_`, e.g. "CERTIFICATE_EXPIRED".
std::string_view tlsFailureName(TlsFailure failure);

/// During what it happened.
enum class TlsStage : uint8_t { library, options, handshake, read, write, shutdown };
/// "handshake", "read" …
std::string_view tlsStageName(TlsStage stage);

/// A failure as a value.
struct TlsError {
  TlsFailure failure = TlsFailure::none;
  TlsStage stage = TlsStage::library;
  /// The reason code of spec 3.3, a static string: "SSL_EMPTY", "SSL_ABORT", "SSL_CA_FAIL" (a certificate above the
  /// leaf), "SSL_CRT_FAIL" (the leaf), "SSL_MISMATCH_SNI", "SSL_HANDSHAKE" …; "" for options.
  const char* reason = "";
  /// Which option: "cert", "keys[1].key", "pfx[0].passphrase", "serverNames[2]" …; "" when none failed.
  std::string option{};
  /// For people: what is wrong, and what is allowed where that helps.
  std::string text{};
  uint32_t libraryCode = 0;  // OpenSSL's packed error code, 0 when it had none
  int verifyCode = 0;        // X509_V_ERR_…, 0 when it is not about a certificate
  int alert = -1;            // the alert received (peerAlert), -1 otherwise

  explicit operator bool() const { return failure != TlsFailure::none; }
};

/// Either a value or a TlsError; used like Result.
template <class T>
class [[nodiscard]] TlsResult {
 public:
  TlsResult(T value)
      : value_(std::move(value)) {}  // NOLINT: implicit on purpose, so that `return value;` reads well
  TlsResult(TlsError error) : error_(std::move(error)) { SLUICE_ASSERT(error_); }  // NOLINT

  explicit operator bool() const { return value_.has_value(); }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const TlsError& error() const { return error_; }

 private:
  std::optional<T> value_;
  TlsError error_;
};

template <>
class [[nodiscard]] TlsResult<void> {
 public:
  TlsResult() = default;
  TlsResult(TlsError error) : error_(std::move(error)) { SLUICE_ASSERT(error_); }  // NOLINT

  explicit operator bool() const { return !error_; }
  const TlsError& error() const { return error_; }

 private:
  TlsError error_;
};

}  // namespace sluice
