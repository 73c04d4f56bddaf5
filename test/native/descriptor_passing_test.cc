#include "net/descriptor_passing.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <thread>

#include "support/test.h"

using namespace sluice;

namespace {

/// Listens at a path of its own, and does `serve` with the first who connects.
class Offer {
 public:
  template <class Serve>
  explicit Offer(Serve serve) : path_("/tmp/sluice-passing-" + std::to_string(getpid())) {
    unlink(path_.c_str());
    auto address = SocketAddress::unixPath(path_);
    listener_ = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_EQ(bind(listener_, address->data(), address->length()), 0);
    CHECK_EQ(listen(listener_, 1), 0);
    thread_ = std::thread([this, serve] {
      const int connection = accept(listener_, nullptr, nullptr);
      serve(connection);
      close(connection);
    });
  }

  ~Offer() {
    thread_.join();
    close(listener_);
    unlink(path_.c_str());
  }

  Result<PassedDescriptors> take(int timeoutMs) {
    return takeDescriptors(*SocketAddress::unixPath(path_), timeoutMs);
  }

 private:
  std::string path_;
  int listener_;
  std::thread thread_;
};

int openDescriptors() {
  int count = 0;
  for (int fd = 0; fd < 1024; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

}  // namespace

TEST("Descriptors arrive with their text, are the same sockets, and end with exec") {
  int pipes[2][2];
  CHECK_EQ(pipe(pipes[0]), 0);
  CHECK_EQ(pipe(pipes[1]), 0);
  Offer offer([&](int connection) {
    const int fds[] = {pipes[0][1], pipes[1][1]};
    CHECK(passDescriptors(connection, fds, "two of them"));
  });
  auto taken = offer.take(5000);
  CHECK(taken);
  CHECK_EQ(taken->text, "two of them");
  CHECK_EQ(taken->descriptors.size(), size_t{2});
  for (size_t i = 0; i < 2; i++) {
    CHECK_EQ(fcntl(taken->descriptors[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(write(taken->descriptors[i], "x", 1), ssize_t{1});
    char byte = 0;
    CHECK_EQ(read(pipes[i][0], &byte, 1), ssize_t{1});
    CHECK_EQ(byte, 'x');
    close(taken->descriptors[i]);
    close(pipes[i][0]);
    close(pipes[i][1]);
  }
  close(taken->socket);
}

TEST(
    "Text alone arrives, in whatever pieces; too much of it, and too many descriptors, are refused by the sender") {
  Offer offer([](int connection) {
    CHECK_EQ(passDescriptors(connection, std::array<int, maxPassedDescriptors + 1>{}, "").error().osError, EINVAL);
    CHECK_EQ(passDescriptors(connection, {}, std::string(maxPassedText + 1, 'x')).error().osError, EINVAL);
    CHECK_EQ(write(connection, "in ", 3), ssize_t{3});
    CHECK(passDescriptors(connection, {}, "pieces" + std::string(60'000, '.')));
  });
  auto taken = offer.take(5000);
  CHECK(taken);
  CHECK_EQ(taken->text, "in pieces" + std::string(60'000, '.'));
  CHECK(taken->descriptors.empty());
  close(taken->socket);
}

TEST("As many descriptors as Linux takes arrive") {
  int ends[2];
  CHECK_EQ(pipe(ends), 0);
  Offer offer([&](int connection) {
    std::array<int, maxPassedDescriptors> fds;
    fds.fill(ends[0]);
    CHECK(passDescriptors(connection, fds, "many"));
  });
  auto taken = offer.take(5000);
  CHECK(taken);
  CHECK_EQ(taken->descriptors.size(), maxPassedDescriptors);
  for (const int fd : taken->descriptors) close(fd);
  close(taken->socket);
  close(ends[0]);
  close(ends[1]);
}

TEST("Nothing stays open when the sender goes away, says nothing, or says too much") {
  struct Row {
    int expected;
    int timeoutMs;
    void (*serve)(int connection);
  };
  constexpr Row rows[] = {
      {ECONNRESET, 5000, [](int connection) { CHECK_EQ(write(connection, "half a line", 11), ssize_t{11}); }},
      {ETIMEDOUT, 20,
       [](int connection) {
         char byte;
         CHECK_EQ(read(connection, &byte, 1), ssize_t{0});
       }},
      {EMSGSIZE, 5000,
       [](int connection) {
         const std::string much(maxPassedText + 8192, 'x');
         for (size_t sent = 0; sent < much.size();) {
           const ssize_t count = send(connection, much.data() + sent, much.size() - sent, MSG_NOSIGNAL);
           if (count <= 0) break;
           sent += static_cast<size_t>(count);
         }
       }},
  };
  for (const Row& row : rows) {
    const int before = openDescriptors();
    {
      Offer offer(row.serve);
      auto taken = offer.take(row.timeoutMs);
      CHECK(!taken);
      if (!taken) CHECK_EQ(taken.error().osError, row.expected);
    }
    CHECK_EQ(openDescriptors(), before);
  }
}

TEST("Nobody there is told as what it is") {
  auto taken = takeDescriptors(*SocketAddress::unixPath("/tmp/sluice-passing-nobody"), 1000);
  CHECK(!taken);
  CHECK_EQ(taken.error().osError, ENOENT);
}
