#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "base/result.h"
#include "engine/socket_option.h"

namespace sluice {

/// A socket's place in the engine's table. The loop, its connections and JavaScript all use the same number; it is
/// given out again only after release(). Engines tag what they hand to the kernel with slot and generation, so that
/// an event of a former socket never reaches its successor (HP-122).
using Slot = uint32_t;
inline constexpr Slot noSlot = UINT32_MAX;
inline constexpr uint32_t maxSlots = 1u << 20;

/// A listener's place in the engine's table, a number space of its own.
using ListenerId = uint32_t;
inline constexpr ListenerId noListener = UINT32_MAX;
inline constexpr uint32_t unlimitedAccepts = UINT32_MAX;

/// One thing that happened. Per socket and direction the order is fixed on every engine: data, then its end or its
/// failure, once (spec 3.12).
struct Completion {
  enum class Kind : uint8_t {
    accepted,       // socket: the new one, listener: where; it receives nothing until receive(socket, true)
    acceptFailed,   // listener, error; accepting has stopped until the next setAcceptBudget()
    connected,      // socket: proven connected, not merely writable (HP-27)
    connectFailed,  // socket, error; only close() is left
    received,       // socket, offset and length in the slab
    ended,          // socket: the peer will send no more
    receiveFailed,  // socket, error; after all data that came before it
    sent,           // socket, length bytes left; 0 means only that there is room again
    sendFailed,     // socket, error; receiving may still go on (HP-12)
    closed,         // socket: the engine holds nothing of it any more; call release()
    spliced,        // socket: length bytes went to the one of spliceTo()
  };
  Kind kind;
  Slot socket = noSlot;
  ListenerId listener = noListener;
  uint32_t offset = 0;
  uint32_t length = 0;
  Error error{};
};

/// What one poll may fill: completions, and the part of the slab for received bytes. Engines that lend memory of
/// their own choosing (features().lendsReceiveMemory) ignore `spaceBegin` and `spaceEnd`.
struct PollBatch {
  std::span<Completion> completions;
  uint32_t spaceBegin = 0;  // offsets in the slab
  uint32_t spaceEnd = 0;
};

struct SendResult {
  size_t taken = 0;      // bytes the kernel has now
  bool waiting = false;  // a `sent` or `sendFailed` completion will follow
  Error error{};         // the send direction has failed; no completion follows
  int fileError = 0;  // sendFile(): errno of what is wrong with the file, ENODATA when it is too short; the socket
                      // is as before
};

struct ListenSpec {
  SocketAddress address{};  // empty when `adoptFd` is given
  int adoptFd = -1;         // a bound, listening descriptor to take over; owned from here on, also on failure
  int backlog = 511;
  bool ipv6Only = false;
  bool reusePort = false;
  bool shared = false;      // other engines accept from the same socket: take turns with them
  SocketOptions options{};  // set before bind, inherited by accepted sockets
};

struct ConnectSpec {
  SocketAddress address;
  SocketAddress local{};    // empty: the system chooses
  SocketOptions options{};  // set before connect
};

enum class CloseMode : uint8_t {
  normal,  // FIN, or RST if received data was never read
  reset,   // RST on purpose (SO_LINGER 0)
  silent,  // the peer is told nothing, as far as the system lets us: without the right to, RST with a TTL of 1 (HP-22)
};

/// How the owner learns that poll() has something to do.
enum class WakeStyle : uint8_t {
  descriptor,   // pollFd() becomes readable
  thread,       // nothing to watch: somebody has to sit in waitReady()
  virtualTime,  // never idle while work() is true: time moves when poll() is called
};

struct EngineFeatures {
  WakeStyle wakeStyle = WakeStyle::descriptor;
  bool lendsReceiveMemory = false;  // received bytes lie where the engine chose; return them with giveBack()
  bool virtualClock = false;
  bool edgeTriggered = false;
  bool batchedSubmission = false;  // operations leave at poll() or submit(), together
  bool multishotAccept = false;
  bool multishotReceive = false;
  bool incrementalBuffers = false;  // IOU_PBUF_RING_INC
  bool limitedReceives = false;     // a multishot receive ends by itself after a turn's share (Linux 6.17)
  bool unixSockets = true;
  bool sendsFiles = false;  // sendFile() works
  bool splices = false;     // spliceTo() works
};

/// Says how much a socket may receive, where somebody limits it: see Engine::limitReceive().
class ReceiveLimiter {
 public:
  virtual ~ReceiveLimiter() = default;
  /// There is something to receive, and so much of it is welcome now. 0: the engine stops as after receive(socket,
  /// false), and the caller has taken note that it did.
  virtual uint32_t mayReceive(Slot socket) = 0;
  /// So many bytes were received. `more`: there may be further ones right behind them.
  virtual void received(Slot socket, uint32_t bytes, bool more) = 0;
  /// A guess at what mayReceive() will say: how much an operation may ask for that waits for data to come.
  virtual uint32_t usualReceive(Slot socket) = 0;
};

/// Counters since the start, for stats() and for tests that prove what did not happen.
struct EngineCounters {
  uint64_t waits = 0;  // kernel waits (epoll_wait, io_uring_enter, …)
  uint64_t kernelEvents = 0;
  uint64_t staleEvents = 0;          // dropped by generation (HP-122)
  uint64_t interestChanges = 0;      // epoll_ctl and the like
  uint64_t receives = 0, sends = 0;  // operations tried
  uint64_t receivesWithoutData = 0;  // EAGAIN, ENOBUFS
  uint64_t splices = 0;              // receives that went to another socket without coming here
  uint64_t buffersExhausted = 0;     // io_uring: ENOBUFS
  uint64_t multishotRearmed = 0;     // io_uring: a multishot that the kernel ended
};

struct EngineOptions {
  std::span<uint8_t> slab;                 // where received bytes go; outlives the engine
  uint32_t receiveChunkBytes = 64 * 1024;  // at most so much per receive
  uint32_t receiveTurnBytes = 256 * 1024;  // at most so much per socket and poll (LE-20)
  uint32_t acceptTurnCount = 64;           // at most so many per listener and poll (HP-70)
};

/// Sockets by operations and completions: the loop asks for accept, connect, receive, send and close, and collects
/// completions with poll(). The kernel's readiness, or its rings, stay behind this page.
///
/// Completions  Appear only from poll(), never inside another call. What was asked for in one turn is in the
///              kernel's hands no later than the next poll() or submit().
/// Order        Per socket: received* then ended or receiveFailed, once; sent* then sendFailed at most once;
///              `closed` is last. A failure is told once and never as an `ended` (HP-26).
/// Silence      After receive(s, false) poll() returns neither data nor end of s until receive(s, true); an engine
///              that had data under way keeps it. After close(s) only `closed` comes.
/// Fairness     One poll() gives a socket at most receiveTurnBytes and a listener at most acceptTurnCount.
/// Cost         Nothing is asked of the kernel for an idle socket, or for an interest that did not change.
/// Limits       A socket under limitReceive() gives no more than its limiter allows at that moment, asked before each
///              `received`, inside poll(). An engine that had more under way keeps it.
/// Memory       Received bytes are valid until the caller polls again with overlapping space or, with
///              lendsReceiveMemory, until giveBack(). Bytes passed to send() must stay until its completion if the
///              result says `waiting`; the iovec array itself need not.
/// Threads      One thread makes all calls, except wake() and, for WakeStyle::thread, waitReady().
class Engine {
 public:
  virtual ~Engine() = default;

  /// "io_uring", "epoll", "kqueue", "poll", "sim".
  virtual std::string_view name() const = 0;
  virtual EngineFeatures features() const = 0;
  const EngineCounters& counters() const { return counters_; }

  /// The clock that deadlines refer to.
  virtual TimeMs nowMs() const { return monotonicMs(); }

  /// Binds and listens; accepts nothing yet. Errors: addressInUse, addressNotAvailable, permissionDenied,
  /// notSupported, descriptorLimit, …, with the failing call's name.
  virtual Result<ListenerId> listen(const ListenSpec& spec) = 0;
  /// Accepts at most `count` more connections (unlimitedAccepts: no bound). 0 stops: what waits stays in the
  /// kernel's backlog, and no call to accept is made for it (HP-72).
  virtual void setAcceptBudget(ListenerId listener, uint32_t count) = 0;
  virtual Result<SocketAddress> listenerAddress(ListenerId listener) const = 0;
  /// The listener's descriptor, borrowed; -1 where there is none (sim).
  virtual int listenerFd(ListenerId listener) const = 0;
  /// Stops and closes. No completion of this listener appears afterwards; a connection that the kernel had
  /// already handed over is closed. The id may be given out again.
  virtual void closeListener(ListenerId listener) = 0;
  /// The same, but connections that the kernel has accepted for us already are still told of, with this id.
  virtual void retireListener(ListenerId listener) { closeListener(listener); }
  /// Whether such a connection may still come. Until then the id is nobody else's.
  virtual bool isRetiring(ListenerId) const { return false; }

  /// Starts to connect; `connected` or `connectFailed` follows. Errors: those before the attempt, e.g. a bad local
  /// address or descriptorLimit.
  virtual Result<Slot> connect(const ConnectSpec& spec) = 0;
  /// Takes over a connected stream descriptor, which it owns from here on, also on failure.
  virtual Result<Slot> adopt(int fd) = 0;

  /// Starts or stops receiving. No effect, and no system call, when nothing changes.
  virtual void receive(Slot socket, bool on) = 0;
  /// Whom to ask about sockets under limitReceive(); outlives the engine's last poll(). The limiter calls nothing of the
  /// engine's but nowMs().
  void setReceiveLimiter(ReceiveLimiter* limiter) { limiter_ = limiter; }
  /// Whether the limiter is asked about this socket. Initially not.
  virtual void limitReceive(Slot socket, bool on) = 0;
  /// Sends the pieces in order, in one system call where the kernel takes them. Not allowed while a previous send
  /// is waiting. When `taken` is short and `waiting` false, call again with the rest, in memory that stays valid:
  /// the engine then waits for room and completes with `sent`. At most maxSendPieces pieces.
  virtual SendResult send(Slot socket, const iovec* pieces, int count) = 0;
  static constexpr int maxSendPieces = 64;
  /// Sends a part of a file as send() does, without its bytes coming here; only where features().sendsFiles.
  virtual SendResult sendFile(Slot socket, int file, uint64_t offset, size_t length) {
    (void)socket, (void)file, (void)offset, (void)length;
    return {.error = {ErrorCode::notSupported}};
  }
  /// What `from` receives goes to `to` within the system, told as `spliced`, for as long as that does; when `to` takes
  /// less, or the system cannot, it comes as `received` again, and this is over. noSlot ends it, which must be before
  /// either is closed, or anything else is sent to `to`. Only where features().splices, and not under limitReceive().
  virtual void spliceTo(Slot from, Slot to) { (void)from, (void)to; }
  virtual bool isSplicing(Slot from) const { return (void)from, false; }
  /// Sends FIN. Only when no send is waiting. Errors: notConnected sockets; harmless otherwise.
  virtual Result<void> shutdownSend(Slot socket) = 0;
  /// Starts to close, cancelling whatever is under way; `closed` follows from a later poll().
  virtual void close(Slot socket, CloseMode mode) = 0;
  /// Gives the slot back after `closed`.
  virtual void release(Slot socket) = 0;
  /// A slot for somebody else's socket, so that all of a loop share their numbers; noSlot when there is none.
  virtual Slot reserve() = 0;
  virtual void unreserve(Slot slot) = 0;
  /// Changes with every reuse of a slot, 24 bits.
  virtual uint32_t generation(Slot socket) const = 0;

  virtual Result<void> setOption(Slot socket, const SocketOptionValue& value) = 0;
  virtual Result<TcpInfo> tcpInfo(Slot socket) const = 0;
  virtual Result<SocketAddress> localAddress(Slot socket) const = 0;
  virtual Result<SocketAddress> peerAddress(Slot socket) const = 0;
  /// The socket's descriptor, borrowed; -1 where there is none (sim).
  virtual int fd(Slot socket) const = 0;

  /// Collects completions, waiting until there is one, wake(), or the deadline. Returns how many; 0 is normal.
  /// A full batch, or no space left in the slab, is no loss: the rest comes from the next poll().
  /// Errors: only those after which the engine is unusable.
  virtual Result<size_t> poll(PollBatch batch, Deadline deadline) = 0;
  /// True when poll(now) would return something although no descriptor says so (left-overs of a full batch,
  /// completions that were created by a call, virtual work).
  virtual bool work() const = 0;
  /// Between stayAwake(true) and stayAwake(false) the caller asks glance() again and again and does not rely on pollFd(),
  /// which need not become readable. After the latter it looks at work() before it does.
  virtual void stayAwake(bool on) { (void)on; }
  /// True when poll(now) would return something; it takes a wake() as poll() does.
  virtual bool glance() { return work(); }
  /// Hands everything asked for so far to the kernel without collecting completions. Nothing to do for engines
  /// that act at once and have a pollFd().
  virtual void submit() {}
  /// After a turn with few completions: makes pollFd() unreadable if nothing is left, so that the caller's wait does not
  /// end for what it has already had. Optional, as is acting on it; work() tells what is left.
  virtual void settle() {}
  /// Makes the current or next poll() return early. Any thread; never blocks; calls coalesce.
  virtual void wake() noexcept = 0;

  /// WakeStyle::descriptor: becomes readable when poll() has something to do. Otherwise -1.
  virtual int pollFd() const { return -1; }
  /// WakeStyle::thread: blocks the calling (other) thread until poll() has something to do or wake() is called. It
  /// works on a snapshot of the interests taken at the last submit(), so that the engine's own thread goes on freely;
  /// submit() wakes it when that snapshot has changed. May return for nothing.
  virtual void waitReady() {}

  /// lendsReceiveMemory: one more reference to the received bytes at `offset`, so that they can be sent from where
  /// they lie. False when the engine is short of buffers: copy instead.
  virtual bool keep(uint32_t offset) {
    (void)offset;
    return false;
  }
  /// lendsReceiveMemory: drops one reference; each `received` starts with one.
  virtual void giveBack(uint32_t offset) { (void)offset; }

 protected:
  EngineCounters counters_;
  ReceiveLimiter* limiter_ = nullptr;
};

/// One engine as `engines()` lists it.
struct EngineInfo {
  std::string_view name;
  bool available = false;
  std::string reason;  // exactly why not; "" when available
  EngineFeatures features;
};

/// Every engine, the preferred first, each probed for real: io_uring by a submission that completes (SV-25).
std::vector<EngineInfo> listEngines();

struct SimOptions;  // engine/sim_options.h

/// Starts the named engine, or with "auto" the first available one of listEngines() but never "sim". A name never
/// falls back to another engine: if it cannot start, the error says which step failed.
/// `sim` configures the simulated network and is ignored by the others; null gives a network without faults.
Result<std::unique_ptr<Engine>> makeEngine(std::string_view name, const EngineOptions& options,
                                           const SimOptions* sim = nullptr);

}  // namespace sluice
