// Goal: no failing system call makes an engine hang, crash, lose a descriptor, or blame the wrong connection.
// Method: two connections echo a message. A first run counts the system calls; then each call fails once, at each place
// and in each way that it plausibly can, and what the engine tells is compared with what it was allowed to tell.
#include <algorithm>
#include <array>
#include <cstring>
#include <map>

#include "engine/sim_random.h"
#include "engine/sys.h"
#include "support/each_engine.h"

using namespace sluice;
using namespace sluice::test;
using enum Completion::Kind;

namespace {

constexpr int mostPlaces = 12;

/// What the hook does; of this thread, as the hook is.
struct Plan {
  std::map<std::string, int> seen;  // calls so far, by name
  std::string call;                 // the one to fail; "" for none
  int place = 0;                    // its how manieth
  int error = 0;
  bool storm = false;  // every other call is interrupted
  SimRandom random{1};
};
Plan plan;

/// Calls that make a descriptor or map memory wait for nothing, and signals leave them alone.
bool interruptible(std::string_view call) {
  constexpr std::string_view never[] = {"eventfd",           "pipe", "epoll_create1", "kqueue", "io_uring_setup",
                                        "io_uring_register", "mmap"};
  return std::ranges::find(never, call) == std::end(never);
}

int hook(const char* call) {
  const int place = ++plan.seen[call];
  if (plan.storm) return interruptible(call) && plan.random.chance(0.5) ? EINTR : 0;
  return plan.call == call && plan.place == place ? plan.error : 0;
}

/// How a call can fail. What is not listed is interrupted.
std::vector<int> failuresOf(const std::string& call) {
  static const std::map<std::string, std::vector<int>> known = {
      {"socket", {EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, EACCES}},
      {"bind", {EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOMEM}},
      {"listen", {EADDRINUSE, EOPNOTSUPP}},
      {"accept", {EINTR, EAGAIN, ECONNABORTED, EPROTO, ENETDOWN, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM}},
      {"connect",
       {EINTR, EINPROGRESS, EALREADY, ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL}},
      {"send", {EINTR, EAGAIN, ENOBUFS, EPIPE, ECONNRESET, ETIMEDOUT, ENOMEM, EHOSTUNREACH}},
      {"sendmsg", {EINTR, EAGAIN, ENOBUFS, EPIPE, ECONNRESET, ETIMEDOUT, ENOMEM, EHOSTUNREACH}},
      {"recv", {EINTR, EAGAIN, ECONNRESET, ETIMEDOUT, ENOMEM, EHOSTUNREACH}},
      {"shutdown", {EINTR, ENOTCONN, ENOBUFS}},
      {"setsockopt", {EINTR, ENOBUFS, ENOMEM, EPERM}},
      {"getsockopt", {EINTR, ENOBUFS}},
      {"getsockname", {EINTR, ENOBUFS}},
      {"getpeername", {EINTR, ENOBUFS, ENOTCONN}},
      {"fcntl", {EINTR, EBADF}},
      {"fstat", {EINTR, ENOMEM}},
      {"epoll_ctl", {EINTR, ENOMEM, ENOSPC}},
      {"epoll_create1", {EMFILE, ENFILE, ENOMEM}},
      {"eventfd", {EMFILE, ENFILE, ENOMEM}},
      {"kqueue", {EMFILE, ENFILE, ENOMEM}},
      {"kevent", {EINTR, ENOMEM}},
      {"poll", {EINTR, ENOMEM}},
      {"io_uring_setup", {EMFILE, ENOMEM, EPERM}},
      {"io_uring_register", {ENOMEM}},
      {"io_uring_enter", {EINTR, EAGAIN, EBUSY}},
      {"mmap", {ENOMEM}},
      {"close", {EINTR, EIO}},
      {"read", {EINTR, EAGAIN}},
      {"write", {EINTR, EAGAIN}},
  };
  const auto entry = known.find(call);
  return entry == known.end() ? std::vector<int>{EINTR} : entry->second;
}

/// Failures that pass by themselves, so that nobody may hear of them.
bool passesBy(const std::string& call, int error) {
  if (error == EINTR || error == EAGAIN || call == "close") return true;
  if (call == "send" || call == "sendmsg") return error == ENOBUFS;
  if (call == "connect") return error == EINPROGRESS || error == EALREADY;
  if (call == "accept") return error == ECONNABORTED || error == EPROTO || error == ENETDOWN;
  return call == "io_uring_enter";
}

/// A socket of the run, and what it has still to send.
struct Side {
  size_t lane = SIZE_MAX;  // unknown until its first byte
  bool client = false;
  std::string out, got;
  size_t gone = 0;  // of `out`
  bool waiting = false, finWanted = false, finOut = false, closing = false;
};

struct Report {
  std::string where;
  Slot socket = noSlot;
  Error error{};
};

/// One run: two lanes, each a client that sends a message and gets it back. One is TCP, the other a Unix socket, with a
/// message that does not fit into its buffers.
class EchoRun {
 public:
  static constexpr size_t laneCount = 2;
  static constexpr size_t largest = 600'000;
  static constexpr std::string_view abstractName{"\0sluice-fault-test", 18};

  explicit EchoRun(std::string_view engineName) : slab_(256 * 1024), engineName_(engineName) {
    for (size_t lane = 0; lane < laneCount; ++lane) {
      messages_[lane] =
          static_cast<char>('0' + lane) + pattern(lane == 0 ? 60'000 : largest, static_cast<uint32_t>(lane + 1));
    }
  }

  /// False when it hung.
  bool run() {
    auto made = makeEngine(engineName_, {.slab = slab_, .receiveChunkBytes = 16 * 1024});
    if (!made) return report("makeEngine", made.error());
    engine_ = std::move(*made);
    const bool ended = runEngine();
    engine_ = nullptr;
    return ended;
  }

  std::vector<Report> reports;
  std::array<bool, laneCount> completed{};
  bool stopped = false;  // nothing could go on after the report

 private:
  bool report(const char* where, const Error& error) {
    reports.push_back({where, noSlot, error});
    stopped = true;
    return true;
  }

  bool runEngine() {
    for (size_t lane = 0; lane < laneCount; ++lane) {
      ListenSpec listen;
      listen.address = lane == 0 ? *SocketAddress::ip("127.0.0.1", 0) : *SocketAddress::unixPath(abstractName);
      auto listener = engine_->listen(listen);
      if (!listener) return report("listen", listener.error());
      engine_->setAcceptBudget(*listener, unlimitedAccepts);
      auto address = engine_->listenerAddress(*listener);
      if (!address) return report("listenerAddress", address.error());
      ConnectSpec connect;
      connect.address = *address;
      auto socket = engine_->connect(connect);
      if (!socket) {
        reports.push_back({"connect", noSlot, socket.error()});
        failedLanes_ += 1;
        continue;
      }
      sides_[*socket] = newSide();
      sides_[*socket].lane = lane;
      sides_[*socket].client = true;
    }
    const TimeMs giveUp = engine_->nowMs() + 4000;
    std::array<Completion, 32> batch;
    while (!over()) {
      if (engine_->nowMs() >= giveUp) return false;
      const PollBatch space{batch, 0, static_cast<uint32_t>(slab_.size())};
      auto count = engine_->poll(space, {giveUp});
      if (!count) return report("poll", count.error());
      for (size_t i = 0; i < *count; ++i) handle(batch[i]);
    }
    return true;
  }

  bool over() const { return sides_.empty() && failedLanes_ + clientsGone_ == laneCount; }

  static Side newSide() {
    Side side;
    side.out.reserve(largest + 1);  // an engine may read what it was given later, so that it must not move
    return side;
  }

  void handle(const Completion& completion) {
    const Slot slot = completion.socket;
    // What the batch brought along with the reason to close.
    const auto known = sides_.find(slot);
    if (known != sides_.end() && known->second.closing && completion.kind != closed) return giveBack(completion);
    switch (completion.kind) {
      case Completion::Kind::accepted:
        sides_[slot] = newSide();
        engine_->receive(slot, true);
        break;
      case acceptFailed:
        reports.push_back({"accept", noSlot, completion.error});
        engine_->setAcceptBudget(completion.listener, unlimitedAccepts);
        break;
      case connected:
        if (auto set = engine_->setOption(slot, {SocketOption::noDelay, 1, {}}); !set) {
          return failSide(slot, "setOption", set.error());
        }
        engine_->receive(slot, true);
        sides_[slot].out = messages_[sides_[slot].lane];
        pump(slot);
        break;
      case received: handleReceived(completion); break;
      case ended: handleEnded(slot); break;
      case sent:
        sides_[slot].waiting = false;
        sides_[slot].gone += completion.length;
        pump(slot);
        break;
      case connectFailed: failSide(slot, "connectFailed", completion.error); break;
      case receiveFailed: failSide(slot, "receiveFailed", completion.error); break;
      case sendFailed: failSide(slot, "sendFailed", completion.error); break;
      case closed:
        clientsGone_ += sides_[slot].client ? 1 : 0;
        sides_.erase(slot);
        engine_->release(slot);
        break;
      case spliced: fail(__FILE__, __LINE__, "nobody has asked for that"); break;
    }
  }

  void giveBack(const Completion& completion) {
    if (completion.kind == received && engine_->features().lendsReceiveMemory) engine_->giveBack(completion.offset);
  }

  void handleReceived(const Completion& completion) {
    Side& side = sides_[completion.socket];
    const std::string bytes(reinterpret_cast<const char*>(slab_.data()) + completion.offset, completion.length);
    giveBack(completion);
    side.got += bytes;
    if (side.client) {
      side.finWanted = side.got.size() >= messages_[side.lane].size();
    } else {
      if (side.lane == SIZE_MAX) side.lane = static_cast<size_t>(bytes[0] - '0');
      side.out += bytes;
    }
    pump(completion.socket);
  }

  void handleEnded(Slot slot) {
    Side& side = sides_[slot];
    if (!side.client) {
      side.finWanted = true;
      return pump(slot);
    }
    completed[side.lane] = side.got == messages_[side.lane];
    closeSide(slot);
  }

  void pump(Slot slot) {
    Side& side = sides_[slot];
    while (!side.waiting && !side.closing && side.gone < side.out.size()) {
      // Both ways to send: a single piece, and several.
      const size_t left = side.out.size() - side.gone;
      char* bytes = side.out.data() + side.gone;
      iovec pieces[] = {{bytes, left > 50'000 ? left / 2 : left}, {bytes + left / 2, left - left / 2}};
      const SendResult result = engine_->send(slot, pieces, left > 50'000 ? 2 : 1);
      side.gone += result.taken;
      side.waiting = result.waiting;
      if (result.error) return failSide(slot, "send", result.error);
    }
    if (side.waiting || side.closing || side.finOut || !side.finWanted) return;
    if (auto shut = engine_->shutdownSend(slot); !shut) return failSide(slot, "shutdownSend", shut.error());
    side.finOut = true;
    if (!side.client) closeSide(slot);
  }

  void failSide(Slot slot, const char* where, const Error& error) {
    reports.push_back({where, slot, error});
    closeSide(slot);
  }

  void closeSide(Slot slot) {
    sides_[slot].closing = true;
    engine_->close(slot, CloseMode::normal);
  }

  std::vector<uint8_t> slab_;
  std::string engineName_;
  std::string messages_[laneCount];
  std::unique_ptr<Engine> engine_;
  std::map<Slot, Side> sides_;
  size_t clientsGone_ = 0, failedLanes_ = 0;
};

struct HookInstalled {
  explicit HookInstalled(Plan next) {
    plan = std::move(next);
    sys::faultHook = hook;
  }
  ~HookInstalled() { sys::faultHook = nullptr; }
};

std::string describe(const std::vector<Report>& reports) {
  std::string text;
  for (const Report& report : reports) {
    text += ' ' + report.where + "=" + report.error.syscall + "/" + std::strerror(report.error.osError);
  }
  return text;
}

bool sameError(int told, int injected) {
  return told == injected || (told == ECONNRESET && injected == EPIPE);  // how Linux spells a reset after FIN
}

void checkRun(std::string_view engine, const std::string& call, int place, int error) {
  setContext(std::string(engine) + ": " + call + " #" + std::to_string(place) + ' ' + std::strerror(error));
  const size_t before = openDescriptors();
  EchoRun run(engine);
  bool ended = false;
  {
    const HookInstalled installed({.seen = {}, .call = call, .place = place, .error = error});
    ended = run.run();
  }
  CHECK_EQ(openDescriptors(), before);
  if (!ended) return fail(__FILE__, __LINE__, "hung;" + describe(run.reports));
  const auto completed = std::ranges::count(run.completed, true);
  // An engine that cannot start says why, and somebody else may be tried.
  const bool started = run.reports.empty() || run.reports[0].where != "makeEngine";
  if (run.reports.empty() || (passesBy(call, error) && (started || error == EINTR))) {
    if (!run.reports.empty()) fail(__FILE__, __LINE__, "nothing to be told, but" + describe(run.reports));
    CHECK_EQ(completed, 2);
    return;
  }
  const Report& first = run.reports[0];
  if (!sameError(first.error.osError, error))
    fail(__FILE__, __LINE__, "told another error:" + describe(run.reports));
  if (run.stopped) return CHECK_EQ(run.reports.size(), 1u);
  if (first.where == "accept") {
    CHECK_EQ(run.reports.size(), 1u);
    CHECK_EQ(completed, 2);
    return;
  }
  // One lane is hurt; its other end may hear of it as well. Nobody else does.
  CHECK(completed >= 1);
  CHECK(run.reports.size() <= 2);
  if (run.reports.size() == 2) {
    CHECK(first.socket != run.reports[1].socket);
    const ErrorCode second = run.reports[1].error.code;
    CHECK(second == ErrorCode::connectionReset || second == ErrorCode::brokenPipe);
  }
}

}  // namespace

ENGINE_TEST("each system call fails once, in each way that it can, and one connection hears of it or nobody does") {
  if (engine == "sim") return;  // has no system calls, and faults of its own
  Plan counted;
  {
    const HookInstalled installed({});
    EchoRun run(engine);
    CHECK(run.run());
    CHECK(run.reports.empty());
    CHECK(run.completed[0] && run.completed[1]);
    counted = plan;
  }
  CHECK(counted.seen.size() > 8);
  for (const auto& [call, times] : counted.seen) {
    for (const int error : failuresOf(call)) {
      for (int place = 1; place <= std::min(times, mostPlaces); ++place) checkRun(engine, call, place, error);
    }
    if (failures() > 30) return;
  }
  setContext("");
}

ENGINE_TEST("a storm of interrupted calls changes nothing") {
  if (engine == "sim") return;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    Plan storm;
    storm.storm = true;
    storm.random = SimRandom(seed);
    const HookInstalled installed(std::move(storm));
    EchoRun run(engine);
    CHECK(run.run());
    if (!run.reports.empty()) fail(__FILE__, __LINE__, describe(run.reports));
    CHECK(run.completed[0] && run.completed[1]);
  }
}
