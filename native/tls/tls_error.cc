#include "tls/tls_error.h"

namespace sluice {

std::string_view tlsFailureName(TlsFailure failure) {
  switch (failure) {
#define X(name, text) \
  case TlsFailure::name: return text;
    SLUICE_TLS_FAILURES(X)
#undef X
  }
  return "FATAL";
}

std::string_view tlsStageName(TlsStage stage) {
  switch (stage) {
    case TlsStage::library: return "library";
    case TlsStage::options: return "options";
    case TlsStage::handshake: return "handshake";
    case TlsStage::read: return "read";
    case TlsStage::write: return "write";
    case TlsStage::shutdown: return "shutdown";
  }
  return "";
}

}  // namespace sluice
