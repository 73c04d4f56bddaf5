#pragma once

#include <array>
#include <memory>
#include <vector>

#include "engine/fd_engine.h"
#include "engine/poller.h"
#include "engine/slot_table.h"
#include "engine/splice_pipe.h"

namespace sluice {

/// The Engine contract over a kernel that only tells readiness: tries each operation at once, and asks the poller
/// when the kernel says "would block".
///
///   Interest   What the poller watches is at least what we want, and shrinks only when it reports something that
///              nobody wants. So a pause that ends before data comes, a send that waits again and again, and every
///              message in steady state change nothing at the kernel; the price is one idle report per real change.
///   Forgetting Pollers are level-triggered: whatever a turn leaves unread or unaccepted is reported again. Only
///              reports not looked at yet are kept (ready_), so that they come before new ones.
class ReadinessEngine final : public FdEngine {
 public:
  ReadinessEngine(std::unique_ptr<Poller> poller, const EngineOptions& options);
  ~ReadinessEngine() override;

  std::string_view name() const override { return poller_->name(); }
  EngineFeatures features() const override;

  Result<ListenerId> listen(const ListenSpec& spec) override;
  void setAcceptBudget(ListenerId listener, uint32_t count) override;
  int listenerFd(ListenerId listener) const override;
  void closeListener(ListenerId listener) override;

  Result<Slot> connect(const ConnectSpec& spec) override;
  Result<Slot> adopt(int fd) override;
  void receive(Slot socket, bool on) override;
  void limitReceive(Slot socket, bool on) override;
  SendResult send(Slot socket, const iovec* pieces, int count) override;
  SendResult sendFile(Slot socket, int file, uint64_t offset, size_t length) override;
  void spliceTo(Slot from, Slot to) override;
  bool isSplicing(Slot from) const override { return sockets_[from].spliceTo != noSlot; }
  void close(Slot socket, CloseMode mode) override;
  void release(Slot socket) override;
  Slot reserve() override { return sockets_.allocate(); }
  void unreserve(Slot slot) override { sockets_.release(slot); }
  uint32_t generation(Slot socket) const override { return sockets_.generation(socket); }
  int fd(Slot socket) const override;

  Result<size_t> poll(PollBatch batch, Deadline deadline) override;
  bool glance() override;
  bool work() const override { return readyNext_ < readyCount_ || !pending_.empty() || broken_; }
  void submit() override { poller_->publish(); }
  void wake() noexcept override { poller_->wake(); }
  int pollFd() const override { return poller_->pollFd(); }
  void waitReady() override { poller_->waitReady(); }

 private:
  struct Socket {
    int fd = -1;                                // owned; -1 once closed
    int failure = 0;                            // errno of the death that one direction saw, for the other one
    std::unique_ptr<SocketAddress> connecting;  // where to, until that is decided
    Interest watched = Interest::none;          // what the poller has; a superset of wanted()
    bool receiving = false;
    bool receiveOver = false;  // ended or receiveFailed was told
    bool blocked = false;      // the kernel had no room at the last send
    bool waiting = false;      // a `sent` completion is owed
    uint8_t pending = 0;       // its entries in pending_
    bool isUnix = false;
    bool limited = false;  // the limiter says how much it may receive
    bool unusual = false;  // limited, or spliced
    Slot spliceTo = noSlot;
  };
  struct Listener {
    int fd = -1;  // owned
    uint32_t budget = 0;
    Interest watched = Interest::none;
    bool isUnix = false;
  };
  /// How a socket's turn to receive ended.
  enum class Turn : uint8_t { drained, more, noRoom };

  /// What one poll() has filled so far of its batch.
  struct Filling {
    explicit Filling(const PollBatch& batch)
        : completions(batch.completions), space(batch.spaceBegin), spaceEnd(batch.spaceEnd) {}
    bool full() const { return count == completions.size(); }
    void push(const Completion& completion) { completions[count++] = completion; }

    std::span<Completion> completions;
    size_t count = 0;
    uint32_t space;
    uint32_t spaceEnd;
    bool received = false;
  };

  static Interest wanted(const Socket& socket);
  static Interest wanted(const Listener& listener);
  Result<Slot> admit(int fd, bool isUnix);
  template <class Watched>
  Result<void> widen(Watched& entry, Token token);
  template <class Watched>
  void settle(Watched& entry, Token token);
  Token tokenOf(Slot socket) const;
  Token tokenOfListener(ListenerId listener) const;
  void pend(const Completion& completion);
  bool waitForRoom(Slot slot, Socket& socket, SendResult& result);
  static SendResult afterSend(Socket& socket, ssize_t sentBytes, size_t length, const char* call);

  void deliverPending(Filling& filling);
  void serveReady(Filling& filling);
  bool serve(const Ready& ready, Filling& filling);
  void serveListener(ListenerId id, Filling& filling);
  void serveConnecting(Slot slot, Socket& socket, Filling& filling);
  Turn receiveFrom(Slot slot, Socket& socket, Filling& filling);
  bool spliceFrom(Slot slot, Socket& socket, uint32_t& turn, Filling& filling, Turn& result);
  void finishReceiving(Slot slot, Socket& socket, int error, Filling& filling);
  void noteWait(size_t found);
  bool receiveAhead(Filling& filling);

  std::unique_ptr<Poller> poller_;
  EngineOptions options_;
  SlotTable<Socket> sockets_;
  SlotTable<Listener> listeners_;
  std::vector<Completion> pending_;  // created by calls, delivered by the next poll()
  std::array<Ready, 512> ready_;     // the last wait's reports; those from readyNext_ on are not served yet
  size_t readyNext_ = 0;
  size_t readyCount_ = 0;
  bool glanced_ = false;  // what is ready was found by glance()
  Error broken_{};        // the poller cannot go on
  SplicePipe pipe_;

  // See receiveAhead().
  Token lone_{0};            // the socket that was all the last waits reported
  uint32_t loneStreak_ = 0;  // how many waits in a row
  uint32_t aheadCount_ = 0;  // receives ahead since the last wait
  uint32_t aheadPause_ = 0;  // polls to go without, after a miss
};

/// The engine over `poller`.
Result<std::unique_ptr<Engine>> makeReadinessEngine(std::unique_ptr<Poller> poller, const EngineOptions& options);

}  // namespace sluice
