#pragma once

#include <deque>
#include <optional>

#include "engine/engine.h"
#include "engine/sim_options.h"
#include "engine/sim_random.h"
#include "engine/sim_schedule.h"
#include "engine/sim_stream.h"
#include "engine/slot_table.h"

namespace sluice {

/// One end of a simulated connection; the client's is side 0.
struct SimEnd {
  uint32_t connection = noSlot;
  uint8_t side = 0;
};

/// What a read found.
struct SimReceived {
  enum class Kind : uint8_t { nothing, data, end, failed };
  Kind kind = Kind::nothing;
  uint32_t bytes = 0;
  Error error{};
};

/// A TCP-like network in memory with its own time: the part of a kernel that SimEngine needs, with calls that never
/// block. It alone decides what arrives when; the engine above it only asks.
///
/// Time     Stands still, except in runUntil(). What a call causes at the other end arrives as an event.
/// Watcher  Hears of each end or listener for which a call may now return something else. A hint, no promise.
/// Ends     Live until both are closed; a closed end still sends what it had, and answers data with a reset, as TCP.
/// Chance   Each connection draws from a generator of its own, forked from the seed in the order of connects.
class SimNetwork {
 public:
  class Watcher {
   public:
    virtual void endChanged(Slot slot) = 0;
    virtual void listenerChanged(ListenerId listener) = 0;

   protected:
    ~Watcher() = default;
  };

  SimNetwork(const SimOptions& options, Watcher& watcher);

  uint64_t nowUs() const { return schedule_.nowUs(); }
  /// Whether an event is planned, if only one that matters no more.
  bool busy() const { return !schedule_.empty(); }
  /// When the next event is due that still matters.
  std::optional<uint64_t> nextEventUs();
  /// Moves the clock forward to `atUs`, running what is due until then. Returns the number of events.
  uint64_t runUntil(uint64_t atUs);

  /// Errors: addressInUse, descriptorLimit, invalidArgument.
  Result<ListenerId> listen(const ListenSpec& spec);
  const SocketAddress& listenerAddress(ListenerId listener) const { return listeners_[listener].address; }
  bool acceptable(ListenerId listener) const;
  /// The next connection of the backlog, from now on known as `slot`. Requires: acceptable(). Errors: descriptorLimit.
  Result<SimEnd> accept(ListenerId listener, Slot slot);
  /// Resets what waits in the backlog.
  void closeListener(ListenerId listener);

  /// Errors: addressInUse, addressNotAvailable, descriptorLimit, invalidArgument.
  Result<SimEnd> connect(const ConnectSpec& spec, Slot slot);
  bool connecting(SimEnd end) const { return side(end).connecting; }
  /// Why the connect failed; none while it is under way or when it succeeded.
  const Error& connectError(SimEnd end) const { return side(end).connectError; }

  bool readable(SimEnd end) const;
  /// Bytes that read() could return now.
  size_t arrived(SimEnd end) const { return incoming(end).arrived(); }
  /// At most `size` bytes and one drawn segment. The end or failure repeats.
  SimReceived read(SimEnd end, uint8_t* into, size_t size);

  /// Half of the send buffer is free.
  bool writable(SimEnd end) const;
  /// The peer has reset: nothing can be sent.
  bool broken(SimEnd end) const { return incoming(end).resetArrived; }
  /// Takes what fits. Errors: connectionReset once, then brokenPipe; brokenPipe after shutdown.
  SendResult send(SimEnd end, const iovec* pieces, int count);
  /// Draws whether the bytes of this send are to be fetched later.
  bool drawDeferredSend(SimEnd end);
  /// Draws whether `end`, which waits for room, is told so too early; takeSpuriousRoom() then says true once.
  void drawSpuriousRoom(SimEnd end);
  bool spuriousRoom(SimEnd end) const { return side(end).spuriousRoom; }
  void clearSpuriousRoom(SimEnd end) { side(end).spuriousRoom = false; }
  Result<void> shutdownSend(SimEnd end);
  /// The end is not the caller's any more, and its slot is forgotten.
  void close(SimEnd end, CloseMode mode);

  void setOption(SimEnd end, const SocketOptionValue& value);
  TcpInfo tcpInfo(SimEnd end) const;
  const SocketAddress& localAddress(SimEnd end) const { return side(end).local; }
  const SocketAddress& peerAddress(SimEnd end) const { return side(end).peer; }

 private:
  enum class Holder : uint8_t { nobody, listener, application };
  enum class Fate : uint8_t { normal, refused, unanswered };

  struct Side {
    Holder holder = Holder::nobody;
    bool connecting = false;
    bool open = false;  // may send
    bool resetTold = false;
    bool spuriousRoom = false;
    Error connectError{};
    Slot slot = noSlot;  // whom to tell; only with Holder::application
    SocketAddress local, peer;
    uint64_t sendBufferBytes = 0;
    uint64_t windowBytes = 0;
  };

  struct Connection {
    Side sides[2];
    SimStream streams[2];  // streams[n] is written by sides[n]
    SimRandom random;
    Fate fate = Fate::normal;
    uint32_t requests = 0;  // how often the connect has knocked at a full backlog
    ListenerId listener = noListener;
    uint64_t resetAfterBytes = UINT64_MAX;
    uint64_t carriedBytes = 0;
    uint64_t frozenUntilUs = 0;
  };

  struct Listener {
    SocketAddress address;
    bool ipv6Only = false;
    bool reusePort = false;
    uint32_t backlog = 1;
    uint32_t halfOpen = 0;         // on the way into `waiting`
    std::deque<uint32_t> waiting;  // connections to accept
    SocketOptions options;
  };

  const Side& side(SimEnd end) const { return connections_[end.connection].sides[end.side]; }
  Side& side(SimEnd end) { return connections_[end.connection].sides[end.side]; }
  const SimStream& outgoing(SimEnd end) const { return connections_[end.connection].streams[end.side]; }
  SimStream& outgoing(SimEnd end) { return connections_[end.connection].streams[end.side]; }
  const SimStream& incoming(SimEnd end) const { return connections_[end.connection].streams[1 - end.side]; }
  SimStream& incoming(SimEnd end) { return connections_[end.connection].streams[1 - end.side]; }
  static SimEnd other(SimEnd end) { return {end.connection, static_cast<uint8_t>(1 - end.side)}; }

  bool descriptorFree() const { return options_.descriptorLimit == 0 || descriptors_ < options_.descriptorLimit; }
  Result<SocketAddress> chooseLocal(const ConnectSpec& spec);
  bool localPortTaken(const SocketAddress& local) const;
  uint16_t pickPort();
  void drawFate(Connection& connection);
  ListenerId findListener(Connection& connection);

  void plan(SimEnd end, SimEvent::Kind kind, uint64_t atUs, uint32_t bytes = 0);
  bool matters(const SimEvent& event) const;
  void run(const SimEvent& event);
  void requestArrives(SimEnd client);
  void connectGivesUp(SimEnd client);
  void segmentArrives(SimEnd reader);
  void dataArrives(SimEnd reader, uint32_t bytes);
  void openArrives(SimEnd reader);
  void resetArrives(SimEnd reader);

  void put(SimEnd writer, SimSegment segment);
  void transmit(SimEnd writer);
  void reportRead(SimEnd reader);
  void sendReset(SimEnd writer);
  void leave(SimEnd end);
  void tell(SimEnd end);
  void freeIfUnheld(uint32_t connection);

  const SimOptions options_;
  Watcher& watcher_;  // borrowed
  SimRandom random_;
  SimSchedule schedule_;
  SlotTable<Connection> connections_;
  SlotTable<Listener> listeners_;
  std::vector<uint32_t> portUsers_;  // listeners and clients by port
  uint16_t lastPort_ = 0;            // the last one picked; 0: none yet
  uint64_t descriptors_ = 0;
};

}  // namespace sluice
