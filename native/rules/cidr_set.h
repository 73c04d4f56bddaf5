#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "rules/network.h"

namespace sluice {

/// Networks, each with a value, and which is the longest that an address lies in. Immutable, so any number of threads look
/// into the same one.
///
/// A trie of six bits per level whose nodes hold two bitmaps and no empty places: a hundred thousand random networks take
/// about twelve megabytes, of IPv6 twenty-two, and an IPv4 address is found in at most six steps.
class CidrSet {
 public:
  struct Entry {
    IpNetwork network;
    uint32_t value = 0;  // index of the value, see value()
  };

  /// `values` are the texts that the entries' values are indices of. Of two entries for one network the later one counts.
  CidrSet(std::vector<Entry> entries, std::vector<std::string> values);
  CidrSet() : CidrSet({}, {}) {}

  /// The entry of the longest network that the address lies in; null when there is none.
  const Entry* find(const IpBits& address) const {
    const uint32_t leaf = (address.isIpv4 ? ipv4_ : ipv6_).find(address);
    return leaf == 0 ? nullptr : &entries_[leaf - 1];
  }
  /// Null for other families, too.
  const Entry* find(const SocketAddress& address) const {
    const auto bits = IpBits::of(address);
    return bits ? find(*bits) : nullptr;
  }
  std::string_view value(const Entry& entry) const { return values_[entry.value]; }

  /// Sorted by address, each network once.
  const std::vector<Entry>& entries() const { return entries_; }
  size_t bytes() const;

 private:
  struct Node {
    uint64_t inner = 0;  // one bit per next chunk that has a node of its own
    uint64_t leaf =
        0;  // one bit per chunk where another leaf begins than that of the chunk before; inner ones are skipped
    uint32_t firstNode = 0, firstLeaf = 0;
  };
  class Trie {
   public:
    void build(const std::vector<Entry>& entries, size_t begin, size_t end);
    uint32_t find(const IpBits& address) const;
    size_t bytes() const { return nodes_.capacity() * sizeof(Node) + leaves_.capacity() * sizeof(uint32_t); }

   private:
    void fill(uint32_t index, const std::vector<Entry>& entries, size_t begin, size_t end, int depth,
              uint32_t above);

    std::vector<Node> nodes_;
    std::vector<uint32_t> leaves_;  // index of an entry + 1; 0: none
  };

  std::vector<Entry> entries_;
  std::vector<std::string> values_;
  Trie ipv4_, ipv6_;
};

/// A set that is exchanged as a whole while others look into it.
///
/// Threads: any.
class SharedCidrSet {
 public:
  explicit SharedCidrSet(std::shared_ptr<const CidrSet> set) : set_(std::move(set)) {}

  std::shared_ptr<const CidrSet> get() const {
    std::lock_guard lock(mutex_);
    return set_;
  }
  /// Whoever looks into the former one finishes with that.
  void replace(std::shared_ptr<const CidrSet> set) {
    std::lock_guard lock(mutex_);
    set_.swap(set);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const CidrSet> set_;
};

}  // namespace sluice
