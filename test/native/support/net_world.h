#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sim_options.h"
#include "net/network.h"

namespace sluice::test {

/// A connection as JavaScript names it.
struct Conn {
  Slot slot = noSlot;
  uint32_t tag = 0;
  bool operator<(const Conn& other) const { return std::pair(slot, tag) < std::pair(other.slot, other.tag); }
};

/// What JavaScript was told of one connection.
struct Tale {
  std::vector<EventType> events;
  std::string received;
  std::vector<TimeoutKind> timeouts;
  std::vector<TimeMs> timeoutTimes;
  ErrorCode closeCode = ErrorCode::none;
  int32_t closeNumber = 0;  // errno, or that of a TLS failure
  TimeMs closedAtMs = 0;

  int count(EventType type) const;
  bool has(EventType type) const { return count(type) > 0; }
};

/// A Network on its loop, and the part of JavaScript: events are taken from the frame after each turn, operations given
/// with apply(). Both ends of each connection live in it.
class NetWorld {
 public:
  struct Options {
    SimOptions sim{};
    uint32_t eventRecords = 4096;
    uint32_t slabBytes = 512 * 1024;
    uint32_t plainBytes = 256 * 1024;
  };
  explicit NetWorld(std::string_view engine) : NetWorld(engine, Options{}) {}
  NetWorld(std::string_view engine, const Options& options);
  ~NetWorld();

  Network& network() { return *network_; }
  Loop& loop() { return *loop_; }
  Engine& engine() { return loop_->engine(); }
  TimeMs nowMs() { return engine().nowMs(); }

  /// A listener on loopback; `gates` and `config` as Network::listen has them.
  SocketAddress listen(uint32_t key, const ConnectionConfig& config = {},
                       std::vector<std::shared_ptr<AcceptGate>> gates = {});
  Conn connect(const SocketAddress& address, const ConnectionConfig& config = {}, uint32_t connectTimeoutMs = 0);
  struct Pair {
    Conn client, server;
  };
  /// Both ends open.
  Pair pair(const ConnectionConfig& client = {}, const ConnectionConfig& server = {});

  /// One turn: collects, tells the handler, and applies what it asked for.
  void turn(Deadline deadline);
  /// Turns until `done`, for so long at most; false and a failed test when it passes.
  bool until(const std::function<bool()>& done, TimeMs withinMs = 10'000);
  /// Turns until the clock has moved on by so much.
  void pass(TimeMs ms);
  /// Turns until all that was under way has arrived: a message on a connection of its own goes there and back.
  void fence();

  /// Operations: staged by these, carried out together by apply() or at the end of the turn.
  void write(Conn to, std::string_view bytes, bool wantDrain = false);
  void writeReference(Conn to, std::string_view bytes, uint32_t reference, bool wantDrain = false);
  /// `where` is descriptor and position; it stays until the operation has been carried out.
  void writeFile(Conn to, const double (&where)[2], uint32_t length, uint32_t reference, bool wantDrain = false);
  void writeSlab(Conn to, uint32_t offset, uint32_t length);
  void op(OpType type, Conn to, int32_t a = 0, int32_t b = 0);
  /// Passes on what came for `from` before it was relayed, and lets native code go on; on its `relaying`.
  void relayGo(Conn from, Conn to);
  void opTimer(OpType type, uint32_t key, int32_t ms = 0);
  void apply();
  /// One operation, at once.
  void now(OpType type, Conn to, int32_t a = 0) {
    op(type, to, a);
    apply();
  }
  void writeNow(Conn to, std::string_view bytes, bool wantDrain = false) {
    write(to, bytes, wantDrain);
    apply();
  }

  Tale& of(Conn conn) { return tales_[conn]; }
  int32_t taken(Conn conn) const { return taken_[conn.slot]; }
  std::vector<Conn> opened;             // in order
  std::map<Conn, uint32_t> listenerOf;  // by accepted connection
  std::vector<uint32_t> released;       // reference slots, in order
  std::vector<uint32_t> scriptTimers;   // keys, in order
  std::vector<ErrorCode> listenerFailures;
  std::vector<int32_t> handshakeFailures;  // numbers for TlsFailures
  std::vector<int32_t> openingFailures;    // numbers for OpeningFailures
  /// What steps of JavaScript's were asked, in order; the connection may be unknown otherwise.
  struct Asked {
    Conn conn;
    int32_t begins = -1;  // the step, or -1: bytes
    std::string bytes;
  };
  std::vector<Asked> asked;
  std::function<void(const Asked&)> onAsked;
  std::map<uint32_t, std::array<uint64_t, 2>> relayed;  // bytes per side, by relay that is over
  std::vector<uint32_t> relayTimeouts;                  // relays, in order
  std::function<void(Conn, EventType, const EventRecord&)> handler;
  bool forgetClosed = true;        // answer `closed` with `forget`
  std::atomic<bool> woken{false};  // the network asked for a turn

 private:
  void deliver();
  void note(const EventRecord& record);

  std::vector<uint8_t> slab_;
  std::vector<EventRecord> records_;
  std::vector<int32_t> taken_;
  SimOptions sim_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Network> network_;
  Frame* frame_ = nullptr;
  uint32_t delivered_ = 0;
  std::vector<OpRecord> ops_;
  std::string out_;
  std::vector<const uint8_t*> references_;
  std::map<Conn, Tale> tales_;
  Pair fence_;
};

}  // namespace sluice::test
