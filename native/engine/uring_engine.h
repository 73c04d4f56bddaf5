#pragma once

#include <memory>

#include "engine/engine.h"

#ifdef __linux__
#include <atomic>
#include <deque>
#include <vector>

#include "engine/fd_engine.h"
#include "engine/slot_table.h"
#include "engine/uring_buffers.h"
#include "engine/uring_ring.h"
#include "engine/uring_socket.h"
#include "engine/wake_fd.h"
#endif

namespace sluice {

/// What newer kernels can do and the engine can do without.
struct UringExtras {
  bool incremental = false;   // buffers used up piece by piece, with completions in the order of the pieces
  bool receiveLimit = false;  // a multishot receive ends by itself after one turn's share (Linux 6.17)
};

/// Starts the io_uring engine. It needs Linux 6.1. The ring belongs to the thread that first polls or submits, not to
/// the one that made the engine; destroy it on that thread, so that everything under way is cancelled first.
/// Operations run with the credentials of that thread, so drop privileges before (SV-26).
/// Errors: engineUnavailable with the call that failed, where probeUring() says why in words; notSupported outside
/// Linux; invalidArgument for a slab of less than 4 KiB.
Result<std::unique_ptr<Engine>> makeUringEngine(const EngineOptions& options);
/// The same without the extras that `allowed` leaves out: tests so run what older kernels get.
Result<std::unique_ptr<Engine>> makeUringEngine(const EngineOptions& options, UringExtras allowed);

/// Tries io_uring with real submissions (SV-25) and says exactly what is missing.
EngineInfo probeUring();

#ifdef __linux__

/// Sockets over one ring: multishot accept and receive, received bytes where the kernel put them in the slab, and one
/// system call per turn for all that was asked.
///
/// An operation carries what it is, its slot and the slot's generation. A slot is released only when no operation of
/// it is under way, so a completion that does not match is a mistake of the kernel or ours: it is counted and dropped,
/// but the buffer or descriptor that came with it is not lost.
class UringEngine final : public FdEngine {
 public:
  UringEngine(UringRing ring, UringBuffers buffers, int eventFd, WakeFd wake, const EngineOptions& options,
              UringExtras extras);
  ~UringEngine() override;

  std::string_view name() const override { return "io_uring"; }
  EngineFeatures features() const override { return featuresWith(extras_); }
  static EngineFeatures featuresWith(UringExtras extras);

  // A ring that is full is handed over early, so this bounds memory and not what can be asked.
  static constexpr uint32_t submissionEntries = 256;
  static constexpr uint32_t completionEntries = 4096;

  Result<ListenerId> listen(const ListenSpec& spec) override;
  void setAcceptBudget(ListenerId listener, uint32_t count) override;
  int listenerFd(ListenerId listener) const override { return listeners_[listener].fd; }
  void closeListener(ListenerId listener) override;
  void retireListener(ListenerId listener) override;
  bool isRetiring(ListenerId listener) const override;

  Result<Slot> connect(const ConnectSpec& spec) override;
  Result<Slot> adopt(int fd) override;
  void receive(Slot socket, bool on) override;
  void limitReceive(Slot socket, bool on) override { sockets_[socket].limited = on; }
  SendResult send(Slot socket, const iovec* pieces, int count) override;
  void close(Slot socket, CloseMode mode) override;
  void release(Slot socket) override;
  Slot reserve() override { return sockets_.allocate(); }
  void unreserve(Slot slot) override { sockets_.release(slot); }
  uint32_t generation(Slot socket) const override { return sockets_.generation(socket); }
  int fd(Slot socket) const override { return sockets_[socket].fd; }

  Result<size_t> poll(PollBatch batch, Deadline deadline) override;
  bool work() const override;
  void submit() override;
  void settle() override;
  void stayAwake(bool on) override;
  void wake() noexcept override;
  int pollFd() const override { return eventFd_; }

  bool keep(uint32_t offset) override { return buffers_.keep(offset); }
  void giveBack(uint32_t offset) override { buffers_.giveBack(offset); }

 private:
  enum class Operation : uint8_t { wake, cancel, accept, connect, receive, send };
  /// The caller's batch while it is being filled.
  struct Output {
    std::span<Completion> to;
    size_t count = 0;
    bool full() const { return count == to.size(); }
    void add(const Completion& completion) { to[count++] = completion; }
  };

  // uring_engine.cc
  static Result<void> setBlocking(int fd);
  uint64_t tag(Operation operation, Slot slot) const;
  uring::SubmissionEntry& queue(Operation operation, Slot slot, uint8_t opcode, int fd);
  void queueCancel(uint64_t userData, bool all);
  void moveDelayed();
  Result<void> enter(bool wait, Deadline deadline);
  Result<void> start();
  void armWake();
  void forgetMessages();
  bool somethingHere() const;
  void clearEvent();
  void takeCompletions(Output& out);
  void handle(const uring::CompletionEntry& completion, Output& out);
  void handleConnected(Slot slot, int result, Output& out);
  void handleSent(Slot slot, int result, Output& out);
  static Error sendFailure(UringSocket& socket, int error);
  void dropStale(Operation operation, const uring::CompletionEntry& completion);
  void closeIfIdle(Slot slot);
  void deliverClosed(Output& out);
  void cancelEverything();

  // uring_receive.cc
  void armReceive(Slot slot);
  void cancelReceive(Slot slot);
  void pauseSoon(Slot slot);
  void cancelPaused();
  void armStarved();
  void handleReceived(Slot slot, const uring::CompletionEntry& completion, Output& out);
  void waitBehindStarved(Slot slot);
  void handlePiece(Slot slot, UringBuffers::Piece piece, Output& out);
  void finishReceiving(Slot slot, int result, Output& out);
  void deliver(Slot slot, UringBuffers::Piece piece, Output& out);
  void setAside(Slot slot, UringBuffers::Piece piece);
  void copyAside(Slot slot);
  void dropAside(Slot slot);
  void listAside(Slot slot);
  bool deliverable(Slot slot) const;
  void deliverAside(Output& out);
  void deliverAsideOf(Slot slot, Output& out);
  void tellEnd(Slot slot, Output& out);
  uint32_t shareLeft(UringSocket& socket) const;
  uint32_t allowed(Slot slot, uint32_t share);

  // uring_accept.cc
  void armAccept(ListenerId id);
  void releaseRetired(ListenerId id);
  void cancelAccept(ListenerId id);
  void handleAccepted(ListenerId id, const uring::CompletionEntry& completion, Output& out);
  void deliverAccepted(ListenerId id, Output& out);
  void deliverWaitingAccepts(Output& out);
  void listWaiting(ListenerId id);

  static constexpr int maxRounds = 8;

  // Order matters: the ring is closed before the memory it uses goes.
  UringBuffers buffers_;
  UringRing ring_;
  const int eventFd_;  // owned; the ring writes to it when something has happened outside enter()
  WakeFd wake_;
  const EngineOptions options_;
  const UringExtras extras_;
  std::atomic<bool> started_ = false;
  bool awake_ = false;   // nobody sleeps on the descriptor
  bool failed_ = false;  // the ring cannot be entered any more
  uint32_t turn_ = 0;
  uint32_t underWay_ = 0;  // operations that a completion without `more` will end

  SlotTable<UringSocket> sockets_;
  SlotTable<UringListener> listeners_;
  std::deque<uring::SubmissionEntry> delayed_;  // entries for which the ring had no place
  struct Message {
    msghdr header;
    iovec pieces[maxSendPieces];
  };
  std::deque<Message> messages_;  // what entries of several pieces point to, until the kernel has taken them
  size_t messagesUsed_ = 0;
  std::vector<Slot> closed_;         // to be told
  std::deque<Slot> starved_;         // wait for a buffer
  std::vector<Slot> served_;         // had a whole turn; they wait behind those
  std::vector<Slot> pausing_;        // told to stop receiving, and the kernel was not yet
  uint32_t starvedTurn_ = 0;         // the poll that starvedQuota_ counts for
  uint32_t starvedShare_ = 1;        // of starved_, to be armed in it
  uint32_t starvedQuota_ = 1;        // still to be armed in it
  uint64_t exhaustedBefore_ = 0;     // counters_.buffersExhausted then
  std::vector<Slot> aside_;          // have something set aside
  std::vector<ListenerId> waiting_;  // have accepted more than one turn's share
};

#endif

}  // namespace sluice
