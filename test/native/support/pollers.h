#pragma once

#include <netinet/in.h>
#include <unistd.h>

#include <memory>
#include <string_view>
#include <utility>

#include "base/assert.h"
#include "engine/poller.h"
#include "support/test.h"

namespace sluice::test {

/// "epoll", "kqueue" (on Linux by the shim), "poll".
std::unique_ptr<Poller> makePoller(std::string_view name);

/// Registers one test per poller of this system.
struct PollerRegistration {
  PollerRegistration(std::string_view sentence, void (*body)(std::string_view name));
};

void setNonBlocking(int fd);

/// Two connected sockets; `ours` is the one that tests watch.
struct Pair {
  int ours = -1;
  int peer = -1;

  Pair() = default;
  Pair(Pair&& other) noexcept : ours(std::exchange(other.ours, -1)), peer(std::exchange(other.peer, -1)) {}
  Pair& operator=(Pair&& other) noexcept {
    std::swap(ours, other.ours);
    std::swap(peer, other.peer);
    return *this;
  }
  ~Pair() {
    closeOurs();
    closePeer();
  }
  void closeOurs() {
    if (ours >= 0) ::close(std::exchange(ours, -1));
  }
  void closePeer() {
    if (peer >= 0) ::close(std::exchange(peer, -1));
  }
  void sendByte() const { SLUICE_ASSERT(::write(peer, "x", 1) == 1); }
  void takeByte() const {
    char byte = 0;
    SLUICE_ASSERT(::read(ours, &byte, 1) == 1);
  }
};

Pair unixPair();
Pair tcpPair();
sockaddr_in loopback();

/// What one wait() says of `token`.
Interest waitFor(Poller& poller, Token token, Deadline deadline = Deadline::now());
/// How many reports one wait() makes.
size_t waitCount(Poller& poller, Deadline deadline = Deadline::now());
bool isReadable(int fd);

}  // namespace sluice::test

/// A sentence that holds on every poller. The body sees the poller's name as `name`.
#define EACH_POLLER(sentence)                                                                \
  static void SLUICE_TEST_JOIN(test_, __LINE__)(std::string_view name);                      \
  static const ::sluice::test::PollerRegistration SLUICE_TEST_JOIN(registration_, __LINE__)( \
      sentence, SLUICE_TEST_JOIN(test_, __LINE__));                                          \
  static void SLUICE_TEST_JOIN(test_, __LINE__)([[maybe_unused]] std::string_view name)
