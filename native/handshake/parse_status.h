#pragma once

#include <cstdint>

namespace sluice {

/// How far a machine of bytes has come with the beginning of a connection.
enum class ParseStatus : uint8_t {
  needsMore,  // fits so far: call again with the same bytes and more behind them
  done,       // the rest of the bytes is the next layer's
  failed,     // and more bytes do not change that
};

}  // namespace sluice
