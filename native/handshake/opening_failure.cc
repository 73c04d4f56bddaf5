#include "handshake/opening_failure.h"

namespace sluice {

std::string_view openingReason(OpeningFailure failure) {
  switch (failure) {
#define X(name, reason, text) \
  case OpeningFailure::name: return reason;
    SLUICE_OPENING_FAILURES(X)
#undef X
  }
  return "NONE";
}

std::string_view openingText(OpeningFailure failure) {
  switch (failure) {
#define X(name, reason, text) \
  case OpeningFailure::name: return text;
    SLUICE_OPENING_FAILURES(X)
#undef X
  }
  return "";
}

}  // namespace sluice
