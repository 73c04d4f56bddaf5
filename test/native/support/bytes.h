#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sim_random.h"

namespace sluice::test {

using Bytes = std::vector<uint8_t>;

/// "0d0a 21" as bytes; blanks and line ends do not count.
inline Bytes hex(std::string_view digits) {
  Bytes bytes;
  int high = -1;
  for (const char c : digits) {
    if (c == ' ' || c == '\n') continue;
    const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    if (high < 0) {
      high = digit;
    } else {
      bytes.push_back(static_cast<uint8_t>(high << 4 | digit));
      high = -1;
    }
  }
  return bytes;
}

inline Bytes bytes(std::string_view text) { return {text.begin(), text.end()}; }
/// A view of a string as bytes.
inline std::span<const uint8_t> bytesView(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::string text(std::span<const uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

inline Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

/// How many rounds a fuzzer makes; SLUICE_FUZZ_RUNS=1000000 for a long night.
inline size_t fuzzRuns(size_t usual) {
  const char* wanted = std::getenv("SLUICE_FUZZ_RUNS");
  return wanted == nullptr ? usual : static_cast<size_t>(std::strtoull(wanted, nullptr, 10));
}

/// Changes some bytes, cuts, doubles, inserts: what a fuzzer does to a sample. `tokens` are pieces that the grammar knows.
inline void maul(Bytes& bytes, SimRandom& random, const std::vector<Bytes>& tokens = {}) {
  const size_t changes = random.between(1, 4);
  for (size_t i = 0; i < changes; i++) {
    const size_t at = random.between(0, bytes.size());
    const size_t count = std::min<size_t>(random.between(1, random.chance(0.8) ? 4 : 300), bytes.size() - at);
    const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(at),
               to = from + static_cast<std::ptrdiff_t>(count);
    const bool isInside = at < bytes.size();
    switch (random.between(0, 7)) {
      case 0:
        if (isInside) bytes[at] = static_cast<uint8_t>(bytes[at] ^ 1u << random.between(0, 7));
        break;
      case 1:
        if (isInside) bytes[at] = static_cast<uint8_t>(random.next());
        break;
      case 2: bytes.erase(from, to); break;
      case 3: bytes.insert(from, random.between(1, 20), static_cast<uint8_t>(random.next())); break;
      case 4: {
        const Bytes copy(from, to);
        bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(random.between(0, bytes.size())), copy.begin(),
                     copy.end());
        break;
      }
      case 5: bytes.resize(at); break;
      case 6:
        if (!tokens.empty()) {
          const Bytes& token = tokens[random.between(0, tokens.size() - 1)];
          bytes.insert(from, token.begin(), token.end());
        }
        break;
      default:
        // Lengths live in the first bytes.
        if (bytes.size() > 16) bytes[random.between(12, 18) % bytes.size()] = static_cast<uint8_t>(random.next());
        break;
    }
  }
}

/// Bytes of their own on the heap, so that a sanitizer sees each step over their end.
class Exact {
 public:
  explicit Exact(std::span<const uint8_t> bytes)
      : copy_(std::make_unique<uint8_t[]>(bytes.size())), size_(bytes.size()) {
    std::copy(bytes.begin(), bytes.end(), copy_.get());
  }
  std::span<const uint8_t> span() const { return {copy_.get(), size_}; }

 private:
  std::unique_ptr<uint8_t[]> copy_;
  size_t size_;
};

}  // namespace sluice::test
