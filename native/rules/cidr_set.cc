#include "rules/cidr_set.h"

#include <algorithm>
#include <array>
#include <bit>
#include <tuple>

namespace sluice {

namespace {

constexpr int stride = 6;
constexpr uint32_t fanOut = 1u << stride;

// The bits up to and including `chunk`.
uint64_t upTo(uint32_t chunk) { return (uint64_t{2} << chunk) - 1; }

// IPv4 first; networks before those that lie in them.
auto order(const CidrSet::Entry& entry) {
  const auto& [address, bits] = entry.network;
  return std::tuple(!address.isIpv4, address.high, address.low, bits);
}

}  // namespace

CidrSet::CidrSet(std::vector<Entry> entries, std::vector<std::string> values)
    : entries_(std::move(entries)), values_(std::move(values)) {
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const Entry& a, const Entry& b) { return order(a) < order(b); });
  // Of equal ones the last stays: unique() keeps the first, so it goes from behind.
  const auto kept = std::unique(entries_.rbegin(), entries_.rend(),
                                [](const Entry& a, const Entry& b) { return a.network == b.network; });
  entries_.erase(entries_.begin(), kept.base());
  entries_.shrink_to_fit();
  const auto firstIpv6 = std::partition_point(entries_.begin(), entries_.end(),
                                              [](const Entry& entry) { return entry.network.address.isIpv4; });
  const auto ipv4Count = static_cast<size_t>(firstIpv6 - entries_.begin());
  ipv4_.build(entries_, 0, ipv4Count);
  ipv6_.build(entries_, ipv4Count, entries_.size());
}

size_t CidrSet::bytes() const {
  return sizeof *this + entries_.capacity() * sizeof(Entry) + ipv4_.bytes() + ipv6_.bytes();
}

void CidrSet::Trie::build(const std::vector<Entry>& entries, size_t begin, size_t end) {
  nodes_.assign(1, {});
  // Only the network of all addresses has no bits, and it comes first.
  const bool everywhere = begin < end && entries[begin].network.bits == 0;
  fill(0, entries, begin + everywhere, end, 0, everywhere ? static_cast<uint32_t>(begin + 1) : 0);
  nodes_.shrink_to_fit();
  leaves_.shrink_to_fit();
}

// Makes a node of the entries [begin, end), which agree in their first `depth` bits and have more of them; `above` is the
// leaf of where none of them matches. As they are sorted, each chunk's are neighbours, behind the networks around them.
void CidrSet::Trie::fill(uint32_t index, const std::vector<Entry>& entries, size_t begin, size_t end, int depth,
                         uint32_t above) {
  struct Range {
    size_t begin = 0, end = 0;
  };
  std::array<uint32_t, fanOut> painted;
  std::array<Range, fanOut> deeper{};
  painted.fill(above);
  for (size_t i = begin; i < end; ++i) {
    const IpNetwork& network = entries[i].network;
    const uint32_t chunk = network.address.chunk(depth);
    if (network.bits <= depth + stride) {
      const uint32_t span = 1u << (depth + stride - network.bits);
      std::fill_n(painted.begin() + chunk, span, static_cast<uint32_t>(i + 1));
    } else {
      if (deeper[chunk].begin == deeper[chunk].end) deeper[chunk].begin = i;
      deeper[chunk].end = i + 1;
    }
  }

  Node node;
  node.firstNode = static_cast<uint32_t>(nodes_.size());
  node.firstLeaf = static_cast<uint32_t>(leaves_.size());
  bool anyLeaf = false;
  for (uint32_t chunk = 0; chunk < fanOut; ++chunk) {
    if (deeper[chunk].begin != deeper[chunk].end) {
      node.inner |= uint64_t{1} << chunk;
    } else if (!anyLeaf || leaves_.back() != painted[chunk]) {
      anyLeaf = true;
      node.leaf |= uint64_t{1} << chunk;
      leaves_.push_back(painted[chunk]);
    }
  }
  nodes_[index] = node;
  nodes_.resize(nodes_.size() + static_cast<size_t>(std::popcount(node.inner)));
  uint32_t child = node.firstNode;
  for (uint32_t chunk = 0; chunk < fanOut; ++chunk) {
    const auto [from, to] = deeper[chunk];
    if (from != to) fill(child++, entries, from, to, depth + stride, painted[chunk]);
  }
}

uint32_t CidrSet::Trie::find(const IpBits& address) const {
  const Node* node = nodes_.data();
  for (int depth = 0;; depth += stride) {
    const uint32_t chunk = address.chunk(depth);
    const uint64_t before = upTo(chunk);
    if ((node->inner >> chunk & 1) == 0)
      return leaves_[node->firstLeaf + static_cast<uint32_t>(std::popcount(node->leaf & before)) - 1];
    node = &nodes_[node->firstNode + static_cast<uint32_t>(std::popcount(node->inner & before)) - 1];
  }
}

}  // namespace sluice
