#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/timer_wheel.h"
#include "engine/engine.h"
#include "handshake/opening_failure.h"
#include "handshake/opening_step.h"
#include "handshake/proxy_header.h"
#include "net/failure_table.h"
#include "net/tls_config.h"
#include "rules/connection_marks.h"

namespace sluice {

class Network;
class TlsSession;

/// What stands between accept and session, or between connect and session: steps, in order. Shared by all loops of a
/// listener and by its connections; immutable.
struct OpeningPlan {
  /// Before TLS, and on what the peer sends in the clear.
  std::vector<std::unique_ptr<OpeningStepKind>> steps;
  /// After TLS, where there is TLS, on what it decrypts.
  std::vector<std::unique_ptr<OpeningStepKind>> sessionSteps;
  /// From accept, or from the connection's being there, to the last step's end, TLS included; bytes that trickle in do not
  /// extend it (HP-16). 0: no bound.
  uint32_t timeoutMs = 10'000;
  /// Of connect(): startTls() follows the last step, and the bound goes on.
  bool connectsTls = false;
};

inline constexpr size_t openingFailureCount = static_cast<size_t>(OpeningFailure::stepTooLong) + 1;
using OpeningCounts = std::array<uint64_t, openingFailureCount>;

/// A connection that did not get to its session, with what only text can say.
struct OpeningReport {
  OpeningFailure failure = OpeningFailure::none;
  std::string step, text, remoteAddress;
  uint16_t remotePort = 0;
};
using OpeningFailures = FailureTable<OpeningReport>;

/// What a rule wants to be told, of which connection.
struct RuleLogReport {
  ConnectionMarks::LogEntry entry;
  std::string remoteAddress;
  uint16_t remotePort = 0;
};
using RuleLogs = FailureTable<RuleLogReport>;

/// One connection's way through its steps. It exists while they run, and afterwards while what they found out is of
/// interest.
///
///   before ─ all steps done ─▶ securing ─ TLS done ─▶ session ─ all steps done ─▶ delivering ─▶ over
///     └──────────── no TLS ───────────────────────────▶ ┘           what came early is told as `data`
class Opening final : public OpeningContext {
 public:
  enum class Stage : uint8_t { before, securing, session, delivering, over };

  Opening(Network& network, Slot slot, std::shared_ptr<const OpeningPlan> plan);

  Stage stage() const { return stage_; }
  /// The only line that writes the stage.
  void moveTo(Stage next) {
    SLUICE_ASSERT(mayMove(stage_, next));
    stage_ = next;
  }
  static constexpr bool mayMove(Stage from, Stage to) {
    switch (to) {
      case Stage::before: return false;
      case Stage::securing: return from == Stage::before;
      case Stage::session: return from == Stage::before || from == Stage::securing;
      case Stage::delivering: return from == Stage::session;
      case Stage::over: return from != Stage::over;
    }
    return false;
  }
  bool runsSteps() const { return stage_ == Stage::before || stage_ == Stage::session; }
  const OpeningPlan& plan() const { return *plan_; }
  const std::vector<std::unique_ptr<OpeningStepKind>>& steps() const {
    return stage_ == Stage::before ? plan_->steps : plan_->sessionSteps;
  }

  const SocketAddress& source() override;
  const SocketAddress& destination() override;
  const ProxyHeader* claimed() const override { return claimed_.get(); }
  void setClaimed(std::unique_ptr<ProxyHeader> header) override { claimed_ = std::move(header); }
  bool proxyExpected() const override { return proxyExpected_; }
  void expectProxy() override { proxyExpected_ = true; }
  void choosePlaintext() override { plaintext_ = true; }
  void send(std::span<const uint8_t> bytes) override { output.insert(output.end(), bytes.begin(), bytes.end()); }
  TimeMs nowMs() const override;
  bool askScript(uint32_t step, bool first, std::span<const uint8_t> bytes) override;
  std::optional<ScriptAnswer> takeAnswer() override { return std::exchange(answer, std::nullopt); }

  bool plaintext() const { return plaintext_; }
  /// Keeps what it has found out and nothing else.
  void forget();
  /// Nothing is left that is of interest once the session runs.
  bool isForgettable() const { return claimed_ == nullptr && marks == nullptr; }
  /// Of TLS that is done; null where there is none.
  const TlsSession* session() const;
  /// Sets what rules want of the socket, and tells what they want to be told.
  void applyMarks();
  /// Tells rules' counters of bytes since the last time. Whether there were any.
  bool countBytes(uint64_t bytesRead, uint64_t bytesWritten);
  void endMarks();

  /// The step whose turn it is, and how far it is.
  size_t index = 0;
  Operation operation;
  std::unique_ptr<OpeningStep> step;
  /// Its verdict, while what it sent is still to leave.
  std::optional<StepVerdict> pending;
  uint32_t countDelayMs = 0;
  bool suspended = false;
  bool peerEnded = false;
  bool full = false;            // reading has stopped until the step goes on
  bool listed = false;          // in the network's list of those that wait for room in a frame
  bool roomless = false;        // the step found no room there
  std::vector<uint8_t> held;    // has come, and no step has taken it
  std::vector<uint8_t> output;  // of the step that is being called
  std::optional<ScriptAnswer> answer;
  std::unique_ptr<ConnectionMarks> marks;  // what rules have left; conn_cur falls with them
  Timer timer;                             // of the last verdict; later, of counting bytes
  Timer deadline;                          // of all steps; while TLS has its turn, its bound takes this one's place
  TimeMs deadlineMs = 0;
  std::shared_ptr<const TlsConfig> tls;  // what follows the first steps on accepted connections

 private:
  Network& network_;
  const Slot slot_;
  std::shared_ptr<const OpeningPlan> plan_;
  SocketAddress source_;
  std::unique_ptr<SocketAddress> destination_;
  std::unique_ptr<ProxyHeader> claimed_;
  Stage stage_ = Stage::before;
  uint64_t bytesReadTold_ = 0, bytesWrittenTold_ = 0;
  bool sourceKnown_ = false, proxyExpected_ = false, plaintext_ = false;
};

}  // namespace sluice
