#include "base/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cerrno>

#include "support/test.h"

using namespace sluice;

TEST("IP literals come out as they went in, in their shortest form") {
  struct Row {
    std::string_view in, out;
    int family;
  };
  constexpr Row rows[] = {
      {"127.0.0.1", "127.0.0.1", AF_INET},
      {"0.0.0.0", "0.0.0.0", AF_INET},
      {"255.255.255.255", "255.255.255.255", AF_INET},
      {"::1", "::1", AF_INET6},
      {"::", "::", AF_INET6},
      {"2001:db8:0:0:0:0:0:1", "2001:db8::1", AF_INET6},
      {"::ffff:10.0.0.1", "::ffff:10.0.0.1", AF_INET6},
  };
  for (const Row& row : rows) {
    auto address = SocketAddress::ip(row.in, 8080);
    CHECK(address);
    if (!address) continue;
    CHECK_EQ(address->host(), row.out);
    CHECK_EQ(address->family(), row.family);
    CHECK_EQ(address->port(), 8080);
  }
}

TEST("what is no IP literal is refused, cut at every character as well") {
  for (const std::string_view text :
       {"", " ", "localhost", "127.0.0.1 ", " 127.0.0.1", "127.0.0.256", "127.1", "1.2.3.4.5", "0x7f.0.0.1",
        "::1::", "[::1]", "::1%", "12345::", "1:2:3:4:5:6:7:8:9", "127.0.0.1:80", "fe80::1%no-such-interface"}) {
    auto address = SocketAddress::ip(text, 1);
    CHECK(!address);
    if (!address) CHECK_EQ(address.error().code, ErrorCode::invalidArgument);
  }
  // A NUL ends nothing early.
  CHECK(!SocketAddress::ip(std::string_view("127.0.0.1\0.evil", 15), 1));
}

TEST("a scope is kept, by name and by number") {
  auto byName = SocketAddress::ip("fe80::1%lo", 1);
  CHECK(byName);
  if (byName) CHECK_EQ(byName->host(), "fe80::1%lo");
  auto byNumber = SocketAddress::ip("fe80::1%4000", 1);
  CHECK(byNumber);
  if (byNumber) CHECK_EQ(byNumber->host(), "fe80::1%4000");
  CHECK(!SocketAddress::ip("fe80::1%4294967296", 1));
}

TEST("every port survives") {
  for (const uint16_t port : {0, 1, 80, 255, 256, 65535}) {
    CHECK_EQ(SocketAddress::ip("127.0.0.1", port)->port(), port);
    CHECK_EQ(SocketAddress::ip("::1", port)->port(), port);
  }
}

TEST("Unix paths may be as long as the system allows, and not longer") {
  const size_t longest = sizeof(sockaddr_un{}.sun_path) - 1;
  for (const size_t length : {size_t{1}, size_t{50}, longest}) {
    const std::string path(length, 'p');
    auto address = SocketAddress::unixPath(path);
    CHECK(address);
    if (!address) continue;
    CHECK_EQ(address->host(), path);
    CHECK_EQ(address->family(), AF_UNIX);
    CHECK_EQ(address->port(), 0);
  }
  auto tooLong = SocketAddress::unixPath(std::string(longest + 1, 'p'));
  CHECK(!tooLong && tooLong.error().osError == ENAMETOOLONG);
  CHECK(!SocketAddress::unixPath(""));
}

#ifdef __linux__
TEST("abstract names keep every byte, NULs included, up to the whole of sun_path") {
  const std::string name = std::string("\0with\0nul", 9);
  CHECK_EQ(SocketAddress::unixPath(name)->host(), name);
  const std::string longest = '\0' + std::string(sizeof(sockaddr_un{}.sun_path) - 1, 'a');
  CHECK_EQ(SocketAddress::unixPath(longest)->host(), longest);
  CHECK(!SocketAddress::unixPath(longest + 'a'));
}
#endif

TEST("an empty address has no family, host or port") {
  const SocketAddress empty;
  CHECK_EQ(empty.family(), AF_UNSPEC);
  CHECK_EQ(empty.host(), "");
  CHECK_EQ(empty.port(), 0);
}

TEST("an unnamed Unix socket has an empty path") {
  sockaddr_un unnamed{};
  unnamed.sun_family = AF_UNIX;
  const auto address = SocketAddress::from(reinterpret_cast<sockaddr*>(&unnamed), sizeof(sa_family_t));
  CHECK_EQ(address.family(), AF_UNIX);
  CHECK_EQ(address.host(), "");
}
