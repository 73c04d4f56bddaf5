#include "support/pollers.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <string>

namespace sluice::test {

namespace {

#ifdef __linux__
constexpr std::string_view pollerNames[] = {"epoll", "kqueue", "poll"};  // kqueue by the shim
#else
constexpr std::string_view pollerNames[] = {"kqueue", "poll"};
#endif

}  // namespace

std::unique_ptr<Poller> makePoller(std::string_view name) {
  auto made = name == "epoll" ? makeEpollPoller() : name == "kqueue" ? makeKqueuePoller() : makePollPoller();
  SLUICE_ASSERT(made);
  return std::move(*made);
}

PollerRegistration::PollerRegistration(std::string_view sentence, void (*body)(std::string_view)) {
  for (const std::string_view name : pollerNames) {
    Registration(std::string(name) + ": " + std::string(sentence), body, std::string(name));
  }
}

void setNonBlocking(int fd) { SLUICE_ASSERT(fcntl(fd, F_SETFL, O_NONBLOCK) == 0); }

Pair unixPair() {
  int ends[2];
  SLUICE_ASSERT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  Pair pair;
  pair.ours = ends[0];
  pair.peer = ends[1];
  for (const int end : ends) setNonBlocking(end);
  return pair;
}

sockaddr_in loopback() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

Pair tcpPair() {
  sockaddr_in address = loopback();
  socklen_t length = sizeof address;
  sockaddr* generic = reinterpret_cast<sockaddr*>(&address);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  SLUICE_ASSERT(bind(listener, generic, length) == 0 && listen(listener, 1) == 0);
  SLUICE_ASSERT(getsockname(listener, generic, &length) == 0);
  Pair pair;
  pair.peer = socket(AF_INET, SOCK_STREAM, 0);
  SLUICE_ASSERT(connect(pair.peer, generic, length) == 0);
  pair.ours = accept(listener, nullptr, nullptr);
  ::close(listener);
  setNonBlocking(pair.ours);
  return pair;
}

Interest waitFor(Poller& poller, Token token, Deadline deadline) {
  std::array<Ready, 64> out;
  auto count = poller.wait(out, deadline);
  SLUICE_ASSERT(count);
  Interest ready = Interest::none;
  for (size_t i = 0; i < *count; ++i)
    if (out[i].token.value == token.value) ready = ready | out[i].ready;
  return ready;
}

size_t waitCount(Poller& poller, Deadline deadline) {
  std::array<Ready, 64> out;
  auto count = poller.wait(out, deadline);
  SLUICE_ASSERT(count);
  return *count;
}

bool isReadable(int fd) {
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&entry, 1, 0) == 1;
}

}  // namespace sluice::test
