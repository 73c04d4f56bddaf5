#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "loop/loop.h"
#include "net/connection.h"
#include "net/handshake_pool.h"
#include "net/listener.h"
#include "net/pair_sockets.h"
#include "net/wire_blocks.h"

namespace sluice {

/// The connections and listeners of one loop: completions of the engine go in and events for JavaScript come out;
/// operations of JavaScript go in and calls to the engine come out.
///
/// Threads: all calls on the loop's thread, except gateOpened() and gateWanted().
class Network final : public LoopClient, public GateWaiter, public ReceiveLimiter {
 public:
  /// `wakeLoop` makes the driver call collect() soon; any thread.
  Network(Loop& loop, void (*wakeLoop)(void*), void* wakeContext);
  ~Network() override;

  Result<ListenerId> listen(const ListenSpec& spec, uint32_t key, const ConnectionConfig& connections,
                            std::vector<std::shared_ptr<AcceptGate>> gates);
  /// Accepts no more; its connections live on.
  void closeListener(uint32_t key);
  /// The same, but who has been accepted by then is still told of.
  void retireListener(uint32_t key);
  const Listener* listener(uint32_t key) const;

  /// `connected` or `closed` follows. connectTimeoutMs 0: as long as the system tries.
  Result<Slot> connect(const ConnectSpec& spec, const ConnectionConfig& config, uint32_t connectTimeoutMs);
  /// Two connections that are connected to each other, both open. Errors: connectionLimit.
  Result<PairSockets::Ends> pair(const PairOptions& options, const ConnectionConfig& first,
                                 const ConnectionConfig& second);
  /// Takes over a connected descriptor; the connection is open at once.
  Result<Slot> adopt(int fd, const ConnectionConfig& config);

  /// Carries out what JavaScript asked for, in order per connection. Pieces written to one connection leave in one
  /// system call. `references` are the addresses for the writeReference and writeFile operations, in their order.
  void apply(std::span<const OpRecord> ops, const uint8_t* out, std::span<const uint8_t* const> references);

  /// The connection, if `tag` still names it and its socket exists.
  Connection* find(Slot slot, uint32_t tag);
  void setTimeouts(Slot slot, Connection& connection, uint32_t readMs, uint32_t writeMs, uint32_t halfClosedMs);

  /// Joins two open connections: what one receives is sent to the other. `relaying` is told for each at once, and its
  /// direction begins with `relayGo`. Returns the relay's number. Errors: `closed` unless both can be joined.
  Result<uint32_t> relay(Slot first, Slot second, const RelayBounds& bounds);
  /// False once both connections are closed.
  bool relayNumbers(uint32_t id, RelayNumbers& numbers) const;

  /// Begins TLS, as client or server by the context's role, over what the connection is now: plain, or TLS already.
  /// `securing` is told at once, `secured` or `closed` follows. Errors: as TlsSession::create; `closed` unless both
  /// directions are open.
  TlsResult<void> startTls(Slot slot, Connection& connection, std::shared_ptr<const TlsConfig> config);
  /// Handshakes run on `threads` threads of their own from now on; 0 never comes.
  void useHandshakeThreads(uint32_t threads);
  /// `drain` is reported from then on when what is queued has fallen to so much, at once if it has.
  void setLowWater(Slot slot, Connection& connection, uint32_t bytes);
  void setOperationBounds(Slot slot, Connection& connection, const OperationBounds& bounds);
  /// Limits the connection by buckets of its own, or by none: null. Levels go on (LE-10).
  void setRateLimit(Slot slot, Connection& connection, std::shared_ptr<const RateLimit> limit);
  /// Makes it a member of another group, or of none: null.
  void setRateGroup(Slot slot, Connection& connection, std::shared_ptr<RateGroup> group);
  /// Takes bytes out of its own bucket, or puts negative ones in. False: it has none (LE-30).
  bool debitRate(Slot slot, Connection& connection, Direction direction, int64_t bytes);
  RateStanding rateStanding(Connection& connection);
  /// From now on no group wakes this loop; before its driver goes.
  void closeRateMail() { rateMail_.close(); }

  /// Closes everything at once, for shutdown. Events still come.
  void destroyAll();
  /// To be called after collect(): serves listeners whose gates have opened, connections whose groups have granted them
  /// something, and some of the handshakes that can go on.
  void serveWaiting(bool withHandshakes = true);

  void onCompletion(const Completion& completion) override;
  void onTimer(Timer& timer) override;
  void onTurn() override;
  bool work() const override {
    // Told by other threads, perhaps while this one was busy: nobody wakes it for these again.
    if (pool_ && pool_->hasResults()) return true;
    if (gateOpened_.load(std::memory_order_relaxed) || gateWanted_.load(std::memory_order_relaxed)) return true;
    return !readable_.empty() || !handshakes_.empty() || !relayedTo_.empty() || pairs_.work() || !rateMail_.empty();
  }
  /// onTurn() has something to do that needs nothing of the kernel.
  bool workInMemory() const { return pairs_.work() || !readable_.empty(); }
  void gateOpened() override;
  void gateWanted() override;
  uint32_t mayReceive(Slot slot) override;
  void received(Slot slot, uint32_t bytes, bool more) override;
  uint32_t usualReceive(Slot slot) override;

  /// Errors: notSupported for ends of pairs, which have no addresses and no options.
  Result<SocketAddress> peerAddress(Slot slot) {
    return at(slot).local ? Result<SocketAddress>(noSocket) : engine_.peerAddress(slot);
  }
  Result<SocketAddress> localAddress(Slot slot) {
    return at(slot).local ? Result<SocketAddress>(noSocket) : engine_.localAddress(slot);
  }
  static constexpr Error noSocket{ErrorCode::notSupported, 0, ""};
  /// Bytes of JavaScript's writes that the kernel has not taken.
  static size_t unsentBytes(const Connection& connection);
  uint32_t openConnections() const { return openConnections_; }
  /// The index by which events name a failed system call, and back.
  static const char* syscallName(uint32_t index);

 private:
  friend class Opening;
  enum class TimerKind : uint32_t {
    connection,
    listener,
    script,
    limit,
    group,
    handshakes,
    opening,
    openingDeadline,
    relay,
  };
  struct Staged {
    const uint8_t* data;
    uint32_t length;
    uint32_t id;  // offset in the slab, or reference slot
    int32_t next;
    OpType source;
  };

  Connection& at(Slot slot);
  // Of the engine, or of the pairs.
  void receive(Slot slot, bool on) { at(slot).local ? pairs_.receive(slot, on) : engine_.receive(slot, on); }
  void limitReceive(Slot slot, bool on) {
    at(slot).local ? pairs_.limitReceive(slot, on) : engine_.limitReceive(slot, on);
  }
  SendResult send(Slot slot, const iovec* pieces, int count) {
    return at(slot).local ? pairs_.send(slot, pieces, count) : engine_.send(slot, pieces, count);
  }
  Result<void> shutdownSend(Slot slot) {
    return at(slot).local ? pairs_.shutdownSend(slot) : engine_.shutdownSend(slot);
  }
  void closeSocket(Slot slot, CloseMode mode) {
    at(slot).local ? pairs_.close(slot, mode) : engine_.close(slot, mode);
  }
  void releaseSlot(Slot slot) { at(slot).local ? pairs_.release(slot) : engine_.release(slot); }
  Connection& start(Slot slot, ConnectionState state, const ConnectionConfig& config);
  void emit(EventType type, Slot slot, const Connection& connection, int32_t a = 0, int32_t b = 0);
  void emitFailure(EventType type, uint32_t tag, uint32_t id, const Error& error);

  void onAccepted(const Completion& completion);
  void onAcceptFailed(const Completion& completion);
  void onConnected(Slot slot, Connection& connection);
  void onReceived(Slot slot, Connection& connection, const Completion& completion);
  void emitData(Slot slot, Connection& connection, uint32_t offset, uint32_t length);
  void noteRead(Slot slot, Connection& connection, uint32_t length);
  void onEnded(Slot slot, Connection& connection);
  void onSent(Slot slot, Connection& connection, uint32_t length);
  void onSendFailed(Slot slot, Connection& connection, const Error& error);
  void onClosed(Slot slot, Connection& connection);

  void stage(Slot slot, Connection& connection, const OpRecord& op, OpType type, const uint8_t* data);
  void flushStaged(Slot slot, Connection& connection);
  void destroy(Slot slot, Connection& connection);
  void queueStaged(Connection& connection, ByteQueue& queue, size_t skip);
  void dropStaged(Connection& connection);
  void sendQueued(Slot slot, Connection& connection);
  bool sendFront(Slot slot, Connection& connection, size_t most, SendResult& result);
  void drainQueue(Slot slot, Connection& connection, size_t bytes);
  void writeFile(Slot slot, Connection& connection, const OpRecord& op, const uint8_t* where);
  bool sendFile(Slot slot, Connection& connection, const ByteQueue::FilePart& part, SendResult& result);
  void afterSending(Slot slot, Connection& connection);
  void countTaken(Slot slot, Connection& connection, size_t bytes);
  void releasePiece(ByteQueue::Owner owner, uint32_t id);
  void dropQueue(Connection& connection);
  ByteQueue& queueOf(Connection& connection);

  void endWriting(Slot slot, Connection& connection);
  void beginDraining(Slot slot, Connection& connection, uint32_t boundMs);
  void beginClosing(Slot slot, Connection& connection, CloseMode mode, const Error& error);
  void closeIfOver(Slot slot, Connection& connection);
  void setPauses(Slot slot, Connection& connection, uint16_t pauses);

  // Securing: network_securing.cc. Sending through layers: network_encrypting.cc.
  class WireOut final : public TlsWire {
   public:
    explicit WireOut(Network& network) : network_(network) {}
    size_t take(std::span<const uint8_t> bytes) override;
    Connection* connection = nullptr;  // whose session is being called
    std::vector<uint8_t> scratch;      // ciphertext on its way to the engine
    // Set while one record is written and nothing behind it: it goes to the engine from where OpenSSL has it.
    bool direct = false;
    Slot slot = 0;  // of the connection, while `direct`
    bool sent = false;
    Error failure;

   private:
    Network& network_;
  };
  void secureAccepted(Slot slot, Connection& connection, std::shared_ptr<const TlsConfig> config);
  void beginHandshake(Slot slot, Connection& connection);
  void queueHandshake(Slot slot, Connection& connection);
  void serveHandshakes();
  void serveWaitingHandshakes(Listener& listener);
  void stepHandshake(Slot slot, Connection& connection);
  void afterHandshakeStep(Slot slot, Connection& connection, TlsStatus status);
  void takeBackHandshakes();
  void onSecured(Slot slot, Connection& connection);
  void afterSecured(Slot slot, Connection& connection);
  void leaveHandshake(Connection& connection);
  void onWireData(Slot slot, Connection& connection, std::span<const uint8_t> bytes);
  void onWireEnded(Slot slot, Connection& connection);
  bool onWireFailed(Slot slot, Connection& connection);
  bool onLayerFailed(Slot slot, Connection& connection, bool sending);
  void rise(Slot slot, Connection& connection, TlsLayer& layer);
  void deliverPlain(Slot slot, Connection& connection);
  void deliverLater(Slot slot, Connection& connection);
  void onPlainEnded(Slot slot, Connection& connection);
  void failSecure(Slot slot, Connection& connection, TlsError error);
  void dropLayers(Connection& connection);
  Listener* listenerOf(const Connection& connection);

  // network_opening.cc
  static constexpr uint32_t noOffset = UINT32_MAX;
  static constexpr uint64_t openingTimerTag(Slot slot) {
    return static_cast<uint64_t>(TimerKind::opening) << 32 | slot;
  }
  static constexpr uint64_t openingDeadlineTag(Slot slot) {
    return static_cast<uint64_t>(TimerKind::openingDeadline) << 32 | slot;
  }
  /// Whether steps of it are under way.
  static bool isOpening(const Connection& connection) {
    return connection.opening && connection.layered && connection.opening->runsSteps();
  }
  void beginOpening(Slot slot, Connection& connection);
  void boundHandshake(Slot slot, Connection& connection, uint32_t boundMs);
  void onOpeningData(Slot slot, Connection& connection, const Completion& completion);
  void onOpeningEnded(Slot slot, Connection& connection);
  void onOpeningFailed(Slot slot, Connection& connection, bool sending);
  void onOpeningTimeout(Slot slot, Connection& connection);
  void waitForSent(Slot slot, Connection& connection, size_t left);
  void onStepAnswer(Slot slot, Connection& connection, const OpRecord& op);
  void boundHeld(Slot slot, Connection& connection);
  void stopReading(Slot slot, Connection& connection);
  void resumeOpening(Slot slot, Connection& connection);
  void serveOpening(Slot slot, Connection& connection);
  void runOpening(Slot slot, Connection& connection, std::span<const uint8_t> fresh, uint32_t slabOffset = noOffset,
                  bool resumes = false);
  static StepVerdict askStep(Opening& opening, std::span<const uint8_t> bytes, bool resumes);
  bool leaveStage(Slot slot, Connection& connection, std::span<const uint8_t> rest, uint32_t slabOffset);
  bool sendOpening(Slot slot, Connection& connection);
  bool askScript(Slot slot, uint32_t script, bool first, std::span<const uint8_t> bytes);
  void readForSteps(Slot slot, Connection& connection);
  void finishOpening(Slot slot, Connection& connection, std::span<const uint8_t> rest, uint32_t slabOffset);
  void deliverHeld(Slot slot, Connection& connection);
  void listOpening(Slot slot, Connection& connection);
  void failOpening(Slot slot, Connection& connection, const StepVerdict& verdict);
  void finishMonitor(Slot slot, Connection& connection, const StepVerdict& verdict);
  void endOpening(Slot slot, Connection& connection, const StepVerdict& verdict);
  void countForRules(Connection& connection);
  void endMarks(Connection& connection);
  void dropOpening(Connection& connection);

  void encryptStaged(Slot slot, Connection& connection);
  void encryptQueued(Slot slot, Connection& connection);
  bool encryptOnce(Slot slot, Connection& connection);
  bool encrypt(Slot slot, Connection& connection, std::span<const uint8_t> bytes, size_t& taken, bool last = false);
  bool noteDirect(Slot slot, Connection& connection);
  bool sendWire(Slot slot, Connection& connection);
  bool sayGoodbye(Slot slot, Connection& connection);
  void countEncrypted(Slot slot, Connection& connection);
  void enterLayers(Connection& connection);

  // network_relaying.cc
  void beginFlow(Slot slot, Connection& connection, uint64_t passedBytes);
  bool holdIfFull(Relay& relay, Slot from, Connection& connection);
  void passOn(Slot slot, Connection& connection, const uint8_t* data, uint32_t length, uint32_t id);
  void sendRelayed();
  void onRelayed(Slot slot, Connection& connection, const Completion& completion);
  std::span<uint8_t> relayRoom();
  bool passOnPlain(Slot slot, Connection& connection);
  void noteSize(Relay& relay, Slot from, const Connection& connection, uint32_t length);
  void onSpliced(Slot slot, Connection& connection, uint32_t length);
  void stopSplicing(Relay& relay);
  bool onRelayDrained(Slot slot, Connection& connection);
  void endFlow(Slot slot, Connection& connection);
  void onRelayFinished(Slot slot, Connection& connection);
  void onRelaySendFailed(Slot slot, Connection& connection);
  void leaveRelay(Slot slot, Connection& connection, bool inOrder);
  void onRelayEndClosed(Slot slot, Connection& connection);
  void breakOff(Slot slot, Connection& connection, const Error& error);
  void stepBreakOff(Slot slot, Connection& connection);
  bool isUndelivered(Slot slot, Connection& connection);
  void beginTunnel(Relay& relay);
  void armRelay(Relay& relay);
  void onRelayTimer(uint32_t id);

  ConnectionTimers& timersOf(Slot slot, Connection& connection);
  void armTimers(Slot slot, Connection& connection);
  void onConnectionTimer(Slot slot, Connection& connection);
  void settleTimers(Slot slot, Connection& connection);
  void noteHalfClosed(Slot slot, Connection& connection);

  void refill(Listener& listener, bool yielding = false);
  void returnGrants(Listener& listener);
  void leaveGates(Connection& connection);
  void endListener(uint32_t key, bool retire);
  void forgetRetired();
  void forgetListener(std::vector<std::unique_ptr<Listener>>::iterator listener);
  void armListener(Listener& listener, TimeMs inMs);

  // network_limiting.cc
  void bindRate(Slot slot, Connection& connection, const RateBinding& binding, const SocketAddress* remote);
  ConnectionLimit& limitOf(Slot slot, Connection& connection);
  void leaveGroup(ConnectionLimit& limits);
  void dropIdleLimit(Slot slot, Connection& connection);
  void dropLimit(Connection& connection);
  int64_t ownAllowance(ConnectionLimit& limits, Direction direction);
  int64_t groupAllowance(ConnectionLimit& limits, Direction direction, int64_t wanted);
  void spend(ConnectionLimit& limits, Direction direction, int64_t bytes);
  size_t maySend(Connection& connection, size_t wanted);
  void noteSend(Connection& connection, const SendResult& result, size_t asked);
  void settleSend(Connection& connection, size_t sent);
  void releaseSend(Connection& connection);
  void resumeSending(Slot slot, Connection& connection);
  void sendLater(Slot slot, Connection& connection);
  void takeTurns();
  void armLimit(Connection& connection);
  void reviewOwnLimit(Slot slot, Connection& connection);
  void await(ConnectionLimit& limits, Direction direction, TimeMs serveAtMs);
  void stopAwaiting(ConnectionLimit& limits, Direction direction);
  void onGroupTimer(GroupWait& wait);
  void takeGrants();

  static constexpr uint32_t blockSize = 256;

  Loop& loop_;
  Engine& engine_;
  const bool defers_;  // sends complete later, so their bytes must stay
  const bool lends_;
  const bool splices_;
  void (*const wakeLoop_)(void*);
  void* const wakeContext_;
  RateMailbox rateMail_;  // before the connections, whose members refer to it
  std::vector<RateMailbox::Note> rateNotes_;
  std::vector<Slot> sendingLater_;
  std::unordered_map<RateGroup*, std::unique_ptr<GroupWait>> groupWaits_;  // of groups that somebody here waits for
  std::vector<std::unique_ptr<Connection[]>> blocks_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::unordered_map<uint32_t, std::unique_ptr<Timer>> scriptTimers_;
  std::unordered_map<uint32_t, std::unique_ptr<Relay>> relays_;
  uint32_t nextRelay_ = 1;
  std::vector<uint8_t> relayRoom_;  // plaintext between two sessions
  size_t relayRoomUsed_ = 0;
  std::vector<std::pair<Slot, uint32_t>> relayedTo_;  // with something queued in this turn
  std::vector<Staged> staged_;
  std::vector<Slot> dirty_;
  std::vector<std::unique_ptr<ByteQueue>> spareQueues_;
  std::atomic<bool> gateOpened_{false}, gateWanted_{false};
  uint32_t openConnections_ = 0;
  PairSockets pairs_{loop_, *this, *this};
  WireOut wireOut_{*this};
  WireBlocks wireBlocks_;
  std::vector<uint8_t> gathered_;                     // small writes on their way into one record
  std::vector<std::pair<Slot, uint32_t>> readable_;   // sessions with plaintext that found no room, or was resumed
  std::deque<std::pair<Slot, uint32_t>> handshakes_;  // those that can go on
  std::vector<std::unique_ptr<TlsLayer>> orphans_;    // of closed connections, while the pool has their sessions
  std::unique_ptr<HandshakePool> pool_;               // last: its threads end first
};

}  // namespace sluice
