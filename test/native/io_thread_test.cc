// The sentences of io_thread.h, with a network on an I/O thread and this thread in the place of JavaScript; TSan watches
// both.
#include <algorithm>
#include <chrono>
#include <map>
#include <string>

#include "loop/io_thread.h"
#include "net/network.h"
#include "support/each_engine.h"

using namespace sluice;
using namespace sluice::test;

namespace {

constexpr uint32_t frameCount = 4, recordsPerFrame = 64, slabBytesPerFrame = 64 * 1024;
constexpr auto patience = std::chrono::seconds(20);

/// A network on an I/O thread, and its owner: answers events as a handler in JavaScript would.
class ThreadedNetwork {
 public:
  using Handler = void (*)(ThreadedNetwork& self, const EventRecord& event);

  ThreadedNetwork(std::string_view engine, Handler handler)
      : slab_(frameCount * slabBytesPerFrame),
        events_(frameCount * recordsPerFrame),
        taken_(1024),
        loop_(makeLoop(engine)),
        network_(
            *loop_, [](void* self) { static_cast<ThreadedNetwork*>(self)->thread_.wake(); }, this),
        thread_(*loop_, {this,
                         [](void* context, const OpBatch& batch) {
                           auto* self = static_cast<ThreadedNetwork*>(context);
                           self->applied += batch.ops.size();
                           self->network_.apply(batch.ops, batch.out.data(), {});
                         },
                         [](void* self) { static_cast<ThreadedNetwork*>(self)->network_.serveWaiting(); },
                         [](void* self) { static_cast<ThreadedNetwork*>(self)->wakeOwner(); }}),
        handler_(handler),
        staged_(thread_.newBatch()) {
    thread_.start();
  }

  IoThread& thread() { return thread_; }

  /// Runs `task` on the I/O thread.
  void call(const std::function<void(Network&, Loop&)>& task) {
    thread_.call([&] { task(network_, *loop_); });
  }

  uint16_t listen(std::vector<std::shared_ptr<AcceptGate>> gates = {}) {
    uint16_t port = 0;
    call([&](Network& network, Loop& loop) {
      ListenSpec spec{.address = *SocketAddress::ip("127.0.0.1", 0)};
      if (const auto id = network.listen(spec, 1, {}, gates)) port = loop.engine().listenerAddress(*id)->port();
    });
    return port;
  }

  bool connect(uint16_t port) {
    bool begun = false;
    call([&](Network& network, Loop&) {
      begun = bool(network.connect({.address = *SocketAddress::ip("127.0.0.1", port)}, {}, 0));
    });
    return begun;
  }

  void stage(OpType type, const EventRecord& of, int32_t a = 0, int32_t b = 0) {
    staged_->ops.push_back({static_cast<int32_t>(type) | (of.head & ~0xff), of.id, a, b});
  }
  void stageWrite(const EventRecord& to, std::string_view bytes) {
    stage(OpType::writeOut, to, static_cast<int32_t>(staged_->out.size()), static_cast<int32_t>(bytes.size()));
    staged_->out.insert(staged_->out.end(), bytes.begin(), bytes.end());
  }
  std::string_view bytesOf(const EventRecord& data) const {
    return {reinterpret_cast<const char*>(slab_.data()) + data.a, static_cast<size_t>(data.b)};
  }

  /// Handles frames until `over` of them all; false when that takes too long.
  bool handleUntil(const std::function<bool()>& over) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!over()) {
      if (!ownerWoken(end)) return false;
      handleReady();
    }
    return true;
  }
  void handleReady() {
    thread_.ownerAwake();
    while (Frame* frame = thread_.takeReady()) {
      for (const EventRecord& event : std::span(frame->records, frame->count)) handler_(*this, event);
      staged_->finishedFrame = frame;
      thread_.post(std::move(staged_));
      staged_ = thread_.newBatch();
    }
  }

  // What has happened, as far as the owner knows; the owner's thread alone looks.
  int opened = 0, connected = 0, closed = 0, failed = 0, mostOpened = 0;
  std::map<int32_t, std::string> received;  // by slot, of clients
  std::map<int32_t, bool> isClient;
  size_t applied = 0;  // operations; the I/O thread alone looks

 private:
  std::unique_ptr<Loop> makeLoop(std::string_view engine) {
    EngineOptions options;
    options.slab = slab_;
    auto made = makeEngine(engine, options);
    SLUICE_ASSERT(made);
    return std::make_unique<Loop>(std::move(*made), LoopMemory{slab_, events_, taken_}, frameCount);
  }

  void wakeOwner() {
    {
      std::lock_guard lock(mutex_);
      woken_ = true;
    }
    wokenChanged_.notify_one();
  }
  bool ownerWoken(std::chrono::steady_clock::time_point end) {
    std::unique_lock lock(mutex_);
    const bool woken = wokenChanged_.wait_until(lock, end, [this] { return woken_; });
    woken_ = false;
    return woken;
  }

  std::vector<uint8_t> slab_;
  std::vector<EventRecord> events_;
  std::vector<int32_t> taken_;
  std::unique_ptr<Loop> loop_;
  Network network_;
  std::mutex mutex_;
  std::condition_variable wokenChanged_;
  bool woken_ = false;
  IoThread thread_;
  const Handler handler_;
  std::unique_ptr<OpBatch> staged_;
};

EventType typeOf(const EventRecord& event) { return static_cast<EventType>(event.head & 0xff); }

/// Letters that tell at which place of the stream they stand.
std::string pattern(size_t length) {
  std::string text(length, '\0');
  for (size_t i = 0; i < length; ++i) text[i] = static_cast<char>('a' + i * 7 % 23 + i / 251 % 3);
  return text;
}

constexpr int messages = 40;
constexpr size_t messageBytes = 3000;

/// Servers echo; a client writes all messages at once, and ends when all have come back.
void echoing(ThreadedNetwork& self, const EventRecord& event) {
  switch (typeOf(event)) {
    case EventType::opened:
      self.opened += 1;
      self.mostOpened = std::max(self.mostOpened, self.opened);
      self.isClient[event.id] = false;
      break;
    case EventType::connected: {
      self.connected += 1;
      self.isClient[event.id] = true;
      self.received[event.id].clear();
      const std::string all = pattern(messages * messageBytes);
      for (int i = 0; i < messages; ++i) {
        self.stageWrite(event, std::string_view(all).substr(i * messageBytes, messageBytes));
      }
      break;
    }
    case EventType::data:
      if (self.isClient[event.id]) {
        std::string& received = self.received[event.id];
        received += self.bytesOf(event);
        if (received.size() == messages * messageBytes) {
          CHECK(received == pattern(received.size()));
          self.stage(OpType::end, event);
        }
      } else {
        self.stage(OpType::writeSlab, event, event.a, event.b);
      }
      break;
    case EventType::end:
      if (!self.isClient[event.id]) self.stage(OpType::end, event);
      break;
    case EventType::closed:
      self.closed += 1;
      self.failed += (event.a & 0xff) != 0;
      if (!self.isClient[event.id]) self.opened -= 1;
      self.stage(OpType::forget, event);
      break;
    default: break;
  }
}

/// A client's connection is reset as soon as it is there, in the middle of its bytes.
void resetting(ThreadedNetwork& self, const EventRecord& event) {
  echoing(self, event);
  if (typeOf(event) == EventType::connected) self.stage(OpType::reset, event);
}

bool hasThreads(std::string_view engine) {
  if (engine != "sim") return true;
  skip("virtual time has no thread");
  return false;
}

}  // namespace

ENGINE_TEST("what an I/O thread echoes comes back whole and in order, for many connections at once") {
  if (!hasThreads(engine)) return;
  ThreadedNetwork network(engine, echoing);
  const uint16_t port = network.listen();
  REQUIRE(port != 0);
  constexpr int clients = 12;
  for (int i = 0; i < clients; ++i) CHECK(network.connect(port));
  CHECK(network.handleUntil([&] { return network.closed == 2 * clients; }));
  CHECK_EQ(network.connected, clients);
  CHECK_EQ(network.failed, 0);
}

ENGINE_TEST("a task finds every batch applied that was posted before it, and its caller finds what it did") {
  if (!hasThreads(engine)) return;
  ThreadedNetwork network(engine, echoing);
  const uint16_t port = network.listen();
  REQUIRE(port != 0);
  constexpr int clients = 10;
  for (int i = 0; i < clients; ++i) CHECK(network.connect(port));
  for (size_t round = 1; round <= 200; ++round) {
    size_t applied = 0;
    auto batch = network.thread().newBatch();
    batch->ops.push_back({static_cast<int32_t>(OpType::armTimer), 1, 1'000'000, 0});
    network.thread().post(std::move(batch));
    network.call([&](Network&, Loop&) { applied = network.applied; });
    // Connections wait for their owner here, so nothing else was posted.
    CHECK_EQ(applied, round);
  }
  CHECK(network.handleUntil([&] { return network.closed == 2 * clients; }));
}

ENGINE_TEST("a thread whose owner handles nothing still serves tasks, and goes on when frames come back") {
  if (!hasThreads(engine)) return;
  ThreadedNetwork network(engine, echoing);
  const uint16_t port = network.listen();
  REQUIRE(port != 0);
  // Each connection takes a frame or two; nobody gives them back for now.
  constexpr int clients = 3 * frameCount;
  for (int i = 0; i < clients; ++i) CHECK(network.connect(port));
  CHECK(network.handleUntil([&] { return network.closed == 2 * clients; }));
  CHECK_EQ(network.failed, 0);
}

ENGINE_TEST("connections of two threads share the places of one gate, and each is served in the end") {
  if (!hasThreads(engine)) return;
  auto gate = std::make_shared<AcceptGate>(4, 0, 2);
  ThreadedNetwork first(engine, echoing), second(engine, echoing);
  const uint16_t ports[] = {first.listen({gate}), second.listen({gate})};
  REQUIRE(ports[0] != 0 && ports[1] != 0);
  constexpr int clients = 10;
  for (int i = 0; i < clients; ++i) {
    CHECK(first.connect(ports[1]));
    CHECK(second.connect(ports[0]));
  }
  std::thread other([&] { CHECK(second.handleUntil([&] { return second.closed == 2 * clients; })); });
  CHECK(first.handleUntil([&] { return first.closed == 2 * clients; }));
  other.join();
  CHECK(first.mostOpened <= 4);
  CHECK(second.mostOpened <= 4);
  CHECK_EQ(first.failed + second.failed, 0);
}

ENGINE_TEST("a thread stops at any time: while resets are under way, and while its owner has frames") {
  if (!hasThreads(engine)) return;
  for (int round = 0; round < 10; ++round) {
    ThreadedNetwork network(engine, resetting);
    const uint16_t port = network.listen();
    REQUIRE(port != 0);
    for (int i = 0; i < 8; ++i) CHECK(network.connect(port));
    if (round % 2 == 0) CHECK(network.handleUntil([&] { return network.connected > round / 2; }));
    network.thread().stop();
  }
}
