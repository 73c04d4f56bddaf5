#pragma once

#include <cstdint>
#include <string_view>

#include "handshake/opening_failure.h"

namespace sluice {

/// How far a machine of bytes has come with the beginning of a connection.
enum class ParseStatus : uint8_t {
  needsMore,  // fits so far: call again with the same bytes and more behind them
  done,       // the rest of the bytes is the next layer's
  failed,     // and more bytes do not change that
};

/// A parse that has failed, for one of the two reasons of every machine: what is told as the code, and in words.
template <class Parse>
Parse failedParse(OpeningFailure failure, std::string_view text) {
  Parse parse;
  parse.status = ParseStatus::failed;
  parse.failure = failure;
  parse.text = text;
  return parse;
}

}  // namespace sluice
