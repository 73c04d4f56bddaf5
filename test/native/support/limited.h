#pragma once

#include <memory>
#include <numeric>
#include <vector>

#include "support/net_world.h"
#include "support/world.h"

namespace sluice::test {

inline constexpr Direction reading = Direction::read, writing = Direction::write;

inline RateLimit limitOf(int64_t rate, int64_t burst, uint32_t tickMs) {
  return {{rate, burst}, {rate, burst}, tickMs};
}
inline std::shared_ptr<const RateLimit> shared(const RateLimit& limit) {
  return std::make_shared<const RateLimit>(limit);
}
inline std::shared_ptr<const RateLimit> readLimit(int64_t rate, int64_t burst, uint32_t tickMs) {
  return shared({{rate, burst}, {}, tickMs});
}
inline std::shared_ptr<const RateLimit> writeLimit(int64_t rate, int64_t burst, uint32_t tickMs) {
  return shared({{}, {rate, burst}, tickMs});
}

inline ConnectionConfig limited(std::shared_ptr<const RateLimit> own, std::shared_ptr<RateGroup> group = nullptr) {
  ConnectionConfig config;
  config.rate.own = std::move(own);
  config.rate.group = std::move(group);
  return config;
}

inline Connection& connectionOf(NetWorld& world, Conn conn) { return *world.network().find(conn.slot, conn.tag); }

inline size_t receivedBy(NetWorld& world, Conn conn) { return world.of(conn).received.size(); }

/// Lets the simulated clock stand at the beginning of a tick.
inline void alignTo(NetWorld& world, TimeMs tickMs) {
  while (world.nowMs() % tickMs != 0) world.pass(1);
}

/// Both ends of many connections, the servers in a group.
struct Crowd {
  Crowd(NetWorld& world, size_t count, const ConnectionConfig& client, const ConnectionConfig& server)
      : world(world) {
    const SocketAddress address = world.listen(77, server);
    const size_t before = world.opened.size();
    for (size_t i = 0; i < count; ++i) clients.push_back(world.connect(address, client));
    world.until([&] { return world.opened.size() == before + count; });
    servers.assign(world.opened.begin() + static_cast<ptrdiff_t>(before), world.opened.end());
  }
  /// Every client sends as much as anybody could read.
  void flood(size_t bytes) {
    for (const Conn client : clients) world.write(client, pattern(bytes, 1));
    world.apply();
  }
  std::vector<size_t> received() const {
    std::vector<size_t> sizes;
    for (const Conn server : servers) sizes.push_back(receivedBy(world, server));
    return sizes;
  }
  size_t total() const {
    const auto sizes = received();
    return std::accumulate(sizes.begin(), sizes.end(), size_t{0});
  }

  NetWorld& world;
  std::vector<Conn> clients, servers;
};

}  // namespace sluice::test
