// Parts of files in a connection's queue, on every engine that has the system send them.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "engine/sys.h"
#include "support/each_engine.h"
#include "support/net_world.h"

using namespace sluice;
using namespace sluice::test;

namespace {

/// A file that goes with the test.
struct TestFile {
  int fd;
  explicit TestFile(std::string_view content) {
    char path[] = "/tmp/sluice-file-XXXXXX";
    fd = mkstemp(path);
    unlink(path);
    CHECK(fd >= 0);
    CHECK_EQ(::write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
  }
  TestFile(const TestFile&) = delete;
  TestFile& operator=(const TestFile&) = delete;
  ~TestFile() { ::close(fd); }
};

}  // namespace

ENGINE_TEST("parts of files leave in their place among what is written, and are released once") {
  NetWorld world(engine);
  if (!world.engine().features().sendsFiles) return;
  const auto pair = world.pair();
  const std::string content = pattern(4'000'000, 5);
  const TestFile file(content);
  const double from10[2] = {static_cast<double>(file.fd), 10}, whole[2] = {static_cast<double>(file.fd), 0};
  world.write(pair.client, "head ");
  world.writeFile(pair.client, from10, 20, 1);
  world.write(pair.client, " then ");
  world.writeFile(pair.client, whole, 4'000'000, 2, true);
  world.write(pair.client, " tail");
  world.op(OpType::end, pair.client);
  world.apply();
  const std::string expected = "head " + content.substr(10, 20) + " then " + content + " tail";
  CHECK(world.until([&] { return world.of(pair.server).received.size() >= expected.size(); }));
  CHECK(world.of(pair.server).received == expected);
  CHECK(world.until([&] { return world.released.size() == 2; }));
  CHECK(world.released == std::vector<uint32_t>({1, 2}));
  CHECK_EQ(world.taken(pair.client), static_cast<int32_t>(expected.size()));
}

ENGINE_TEST("a file that is too short ends the own direction, and nothing after it is sent") {
  NetWorld world(engine);
  if (!world.engine().features().sendsFiles) return;
  const auto pair = world.pair();
  const TestFile file("only so much");
  const double whole[2] = {static_cast<double>(file.fd), 0};
  int failure = 0;
  world.handler = [&](Conn, EventType type, const EventRecord& record) {
    if (type == EventType::fileFailed) failure = record.a;
  };
  world.writeFile(pair.client, whole, 100, 7);
  world.write(pair.client, "must not come");
  world.apply();
  CHECK(world.until([&] { return failure != 0 && world.of(pair.server).has(EventType::end); }));
  CHECK_EQ(failure, ENODATA);
  CHECK(world.of(pair.server).received == "only so much");
  CHECK(world.released == std::vector<uint32_t>({7}));
  CHECK_EQ(world.taken(pair.client), 113);
  // The other direction goes on.
  world.writeNow(pair.server, "still heard");
  CHECK(world.until([&] { return world.of(pair.client).received == "still heard"; }));
}

ENGINE_TEST(
    "parts of files are released when their connection is destroyed before they are sent, or gone already") {
  NetWorld world(engine);
  if (!world.engine().features().sendsFiles) return;
  const auto pair = world.pair();
  const TestFile file(pattern(8'000'000, 1));
  const double whole[2] = {static_cast<double>(file.fd), 0};
  world.now(OpType::pause, pair.server, pausedByUser);
  world.writeFile(pair.client, whole, 8'000'000, 1);
  world.writeFile(pair.client, whole, 8'000'000, 2);
  world.apply();
  world.fence();
  CHECK(world.released.empty());
  world.writeFile(pair.client, whole, 8'000'000, 3);
  world.op(OpType::destroy, pair.client);
  world.apply();
  CHECK(world.until([&] { return world.released.size() == 3; }));
  world.writeFile(pair.client, whole, 8'000'000, 4);
  world.apply();
  CHECK(world.until([&] { return world.released.size() == 4; }));
}

ENGINE_TEST("a peer that resets while a file is sent is told as a failure of the connection") {
  std::signal(SIGPIPE, SIG_IGN);  // as in Node
  NetWorld world(engine);
  if (!world.engine().features().sendsFiles) return;
  const auto pair = world.pair();
  const TestFile file(pattern(8'000'000, 1));
  const double whole[2] = {static_cast<double>(file.fd), 0};
  world.now(OpType::pause, pair.server, pausedByUser);
  world.writeFile(pair.client, whole, 8'000'000, 1);
  world.apply();
  world.now(OpType::reset, pair.server);
  CHECK(world.until([&] { return world.of(pair.client).has(EventType::closed); }));
  CHECK(world.released == std::vector<uint32_t>({1}));
}
