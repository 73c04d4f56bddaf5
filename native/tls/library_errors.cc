#include "tls/library_errors.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

namespace sluice {

LibraryErrors LibraryErrors::take() {
  LibraryErrors errors;
  while (const unsigned long code = ERR_get_error()) {
    // What a cipher says comes first, but what TLS makes of it tells more.
    const bool isFirstOfTls = ERR_GET_LIB(code) == ERR_LIB_SSL && !errors.isFrom(ERR_LIB_SSL);
    if (errors.code == 0 || isFirstOfTls) errors.code = static_cast<uint32_t>(code);
    const char* reason = ERR_reason_error_string(code);
    if (!errors.text.empty()) errors.text += "; ";
    if (reason != nullptr) {
      errors.text += reason;
    } else {
      char buffer[128];
      ERR_error_string_n(code, buffer, sizeof buffer);
      errors.text += buffer;
    }
  }
  return errors;
}

int LibraryErrors::reason() const { return ERR_GET_REASON(code); }
bool LibraryErrors::isFrom(int library) const { return ERR_GET_LIB(code) == library; }

TlsError optionError(TlsFailure failure, std::string option, std::string text) {
  const LibraryErrors errors = LibraryErrors::take();
  if (!errors.text.empty()) text += " (" + errors.text + ")";
  return {failure, TlsStage::options, "", std::move(option), std::move(text), errors.code};
}

TlsError outOfMemory(TlsStage stage) {
  const LibraryErrors errors = LibraryErrors::take();
  return {TlsFailure::noMemory, stage, "SSL_NO_MEM", "", "no memory for TLS", errors.code};
}

namespace {

TlsFailure failureOfVerification(int code) {
  switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD: return TlsFailure::certificateExpired;
    case X509_V_ERR_CERT_NOT_YET_VALID:
    case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD: return TlsFailure::certificateNotYetValid;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT: return TlsFailure::certificateSelfSigned;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN: return TlsFailure::certificateSelfSignedInChain;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_UNTRUSTED:
    case X509_V_ERR_AKID_SKID_MISMATCH:
    case X509_V_ERR_AKID_ISSUER_SERIAL_MISMATCH:
    case X509_V_ERR_SUBJECT_ISSUER_MISMATCH: return TlsFailure::certificateUnknownIssuer;
    case X509_V_ERR_CERT_REVOKED: return TlsFailure::certificateRevoked;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_EMAIL_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH: return TlsFailure::certificateNameMismatch;
    case X509_V_ERR_INVALID_PURPOSE:
    case X509_V_ERR_CERT_REJECTED: return TlsFailure::certificateBadPurpose;
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE:
    case X509_V_ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY: return TlsFailure::certificateBadSignature;
    case X509_V_ERR_INVALID_CA:
    case X509_V_ERR_KEYUSAGE_NO_CERTSIGN:
    case X509_V_ERR_PERMITTED_VIOLATION:
    case X509_V_ERR_EXCLUDED_VIOLATION: return TlsFailure::certificateInvalidCa;
    case X509_V_ERR_CERT_CHAIN_TOO_LONG:
    case X509_V_ERR_PATH_LENGTH_EXCEEDED: return TlsFailure::certificateChainTooLong;
    case X509_V_ERR_EE_KEY_TOO_SMALL:
    case X509_V_ERR_CA_KEY_TOO_SMALL:
    case X509_V_ERR_CA_MD_TOO_WEAK: return TlsFailure::certificateTooWeak;
    case X509_V_ERR_UNABLE_TO_GET_CRL:
    case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER: return TlsFailure::crlMissing;
    case X509_V_ERR_CRL_HAS_EXPIRED: return TlsFailure::crlExpired;
    case X509_V_ERR_CRL_NOT_YET_VALID:
    case X509_V_ERR_CRL_SIGNATURE_FAILURE:
    case X509_V_ERR_UNABLE_TO_DECRYPT_CRL_SIGNATURE:
    case X509_V_ERR_ERROR_IN_CRL_LAST_UPDATE_FIELD:
    case X509_V_ERR_ERROR_IN_CRL_NEXT_UPDATE_FIELD:
    case X509_V_ERR_KEYUSAGE_NO_CRL_SIGN:
    case X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION: return TlsFailure::crlInvalid;
    case X509_V_ERR_OUT_OF_MEM: return TlsFailure::noMemory;
    default: return TlsFailure::certificateInvalid;
  }
}

// HP-25: what is wrong above the leaf, or about who signed it, is the authority's fault.
const char* reasonOfVerification(TlsFailure failure, int depth) {
  switch (failure) {
    case TlsFailure::certificateNameMismatch: return "SSL_MISMATCH_SNI";
    case TlsFailure::certificateUnknownIssuer:
    case TlsFailure::certificateSelfSignedInChain:
    case TlsFailure::certificateInvalidCa:
    case TlsFailure::crlMissing:
    case TlsFailure::crlExpired:
    case TlsFailure::crlInvalid: return "SSL_CA_FAIL";
    case TlsFailure::noMemory: return "SSL_NO_MEM";
    default: return depth > 0 ? "SSL_CA_FAIL" : "SSL_CRT_FAIL";
  }
}

struct Meaning {
  TlsFailure failure;
  const char* reason;
};

Meaning meaningInHandshake(int reason) {
  switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_BAD_RECORD_TYPE: return {TlsFailure::notTls, "SSL_HANDSHAKE"};
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_UNSUPPORTED_SSL_VERSION:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_VERSION_TOO_HIGH:
    case SSL_R_NO_PROTOCOLS_AVAILABLE: return {TlsFailure::unsupportedVersion, "SSL_HANDSHAKE"};
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_CIPHERS_AVAILABLE:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SUITABLE_GROUPS:
    case SSL_R_NO_SHARED_GROUPS: return {TlsFailure::noCommonCipher, "SSL_HANDSHAKE"};
    case SSL_R_NO_APPLICATION_PROTOCOL: return {TlsFailure::noCommonProtocol, "SSL_HANDSHAKE"};
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return {TlsFailure::certificateMissing, "SSL_CRT_FAIL"};
    case SSL_R_EXCESSIVE_MESSAGE_SIZE:
    case SSL_R_LENGTH_TOO_LONG: return {TlsFailure::handshakeTooLarge, "SSL_HANDSHAKE"};
    default: return {TlsFailure::handshakeFailed, "SSL_HANDSHAKE"};
  }
}

Meaning meaningAfterwards(int reason) {
  switch (reason) {
    case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
    case SSL_R_BAD_RECORD_TYPE:
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_DATA_LENGTH_TOO_LONG:
    case SSL_R_ENCRYPTED_LENGTH_TOO_LONG:
    case SSL_R_LENGTH_TOO_SHORT:
    case SSL_R_UNEXPECTED_RECORD: return {TlsFailure::badRecord, "SSL_FATAL"};
    case SSL_R_RECORD_TOO_SMALL:
    case SSL_R_TOO_MANY_WARN_ALERTS: return {TlsFailure::recordFlood, "SSL_FATAL"};
    default: return {TlsFailure::fatal, "SSL_FATAL"};
  }
}

}  // namespace

TlsError verifyError(int verifyCode, int depth) {
  TlsError error;
  error.failure = failureOfVerification(verifyCode);
  error.stage = TlsStage::handshake;
  error.reason = reasonOfVerification(error.failure, depth);
  error.text = X509_verify_cert_error_string(verifyCode);
  error.verifyCode = verifyCode;
  return error;
}

TlsError sessionError(TlsStage stage, const LibraryErrors& errors) {
  TlsError error;
  error.stage = stage;
  error.libraryCode = errors.code;
  error.text = errors.text.empty() ? "OpenSSL gave no reason" : errors.text;
  const int reason = errors.reason();
  const bool ofHandshake = stage == TlsStage::handshake;
  if (reason == ERR_R_MALLOC_FAILURE) {
    error.failure = TlsFailure::noMemory;
    error.reason = "SSL_NO_MEM";
  } else if (!errors.isFrom(ERR_LIB_SSL)) {
    error.failure = ofHandshake ? TlsFailure::handshakeFailed : TlsFailure::fatal;
    error.reason = ofHandshake ? "SSL_HANDSHAKE" : "SSL_FATAL";
  } else if (reason >= SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256) {
    error.failure = TlsFailure::peerAlert;
    error.reason = ofHandshake ? "SSL_HANDSHAKE" : "SSL_FATAL";
    error.alert = reason - SSL_AD_REASON_OFFSET;
  } else {
    const Meaning meaning = ofHandshake ? meaningInHandshake(reason) : meaningAfterwards(reason);
    error.failure = meaning.failure;
    error.reason = meaning.reason;
  }
  return error;
}

}  // namespace sluice
