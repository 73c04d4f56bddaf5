#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "base/address.h"
#include "base/clock.h"
#include "handshake/op_state.h"

namespace sluice {

enum class OpeningFailure : uint8_t;  // handshake/opening_failure.h
struct ProxyHeader;                   // handshake/proxy_header.h

/// How a connection ends that does not get to its session.
enum class OpeningEnd : uint8_t {
  drain,   // what was sent leaves, then FIN; what still comes is read and dropped (HP-18, HP-21)
  reset,   // RST (HP-20)
  silent,  // the peer is not told (HP-22)
};

/// What a step says when it was asked to go on.
struct StepVerdict {
  enum class Kind : uint8_t {
    needMore,   // not without further bytes; those it `consumed` are gone
    done,       // `consumed` bytes were its own; all others are for whoever comes next (HP-17)
    failed,     // `failure`; the connection ends
    suspended,  // until resumed() is due. Bytes wait meanwhile.
    over,       // the connection has served its purpose, e.g. as a health check
  };
  Kind kind = Kind::needMore;
  OpeningEnd end = OpeningEnd::drain;  // failed, over
  OpeningFailure failure{};            // failed; over: by what it is counted
  uint8_t resetTtl = 0;                // silent: RST that dies after so many hops; 0: nothing where the system can
  uint32_t delayMs = 0;                // needMore, suspended: resumed() is due after so long; 0: no such time
  size_t consumed = 0;                 // needMore, done
  std::string_view text{};             // failed: what was wrong, a static string; may be empty

  static StepVerdict needMore(uint32_t delayMs = 0) { return {.delayMs = delayMs}; }
  static StepVerdict done(size_t consumed) { return {.kind = Kind::done, .consumed = consumed}; }
  static StepVerdict failed(OpeningFailure failure, std::string_view text = {},
                            OpeningEnd end = OpeningEnd::drain) {
    return {.kind = Kind::failed, .end = end, .failure = failure, .text = text};
  }
  static StepVerdict suspended(uint32_t delayMs = 0) { return {.kind = Kind::suspended, .delayMs = delayMs}; }
  static StepVerdict over(OpeningFailure what, OpeningEnd end) {
    return {.kind = Kind::over, .end = end, .failure = what};
  }
};

/// What JavaScript says to the bytes that a step of its own was shown.
struct ScriptAnswer {
  enum class Kind : uint8_t { needMore = 1, done, reject, silent, close, threw };
  Kind kind = Kind::needMore;
  uint32_t consumed = 0;
};

/// What a step knows of its connection, and may do to it. Valid during the call alone.
class OpeningContext {
 public:
  virtual ~OpeningContext() = default;
  /// The real addresses, as the system tells; asked of it once, when first wanted.
  virtual const SocketAddress& source() = 0;
  virtual const SocketAddress& destination() = 0;
  /// What a PROXY or NetScaler header said; null while there was none. Set by its step.
  virtual const ProxyHeader* claimed() const = 0;
  virtual void setClaimed(std::unique_ptr<ProxyHeader> header) = 0;
  /// Rules want a PROXY header of this connection: steps that wait for that word begin.
  virtual bool proxyExpected() const = 0;
  virtual void expectProxy() = 0;
  /// The session goes on in the clear although its listener serves TLS.
  virtual void choosePlaintext() = 0;
  /// Bytes for the peer. The next step begins when the system has all of them.
  virtual void send(std::span<const uint8_t> bytes) = 0;
  virtual TimeMs nowMs() const = 0;
  /// Shows bytes to a step of JavaScript's, whose answer comes with resumed(). False: there is no room for them now, and
  /// resumed() is due when there is.
  virtual bool askScript(uint32_t script, bool first, std::span<const uint8_t> bytes) = 0;
  virtual std::optional<ScriptAnswer> takeAnswer() = 0;
};

/// One step of one connection, from its start to its end; a machine of bytes, without sockets and without a clock of its
/// own. Destroyed as soon as its verdict is final, or the connection ends.
class OpeningStep {
 public:
  virtual ~OpeningStep() = default;
  /// Its turn has come. Consumes nothing.
  virtual StepVerdict begin(OpeningContext& context) {
    (void)context;
    return StepVerdict::needMore();
  }
  /// All bytes that have come and nobody has taken, more of them each time; never none. It keeps no reference to them.
  virtual StepVerdict bytes(OpeningContext& context, std::span<const uint8_t> bytes) = 0;
  /// The time that the last verdict named is over, or what it waited for has come. `bytes` may be empty.
  virtual StepVerdict resumed(OpeningContext& context, std::span<const uint8_t> bytes) {
    return bytes.empty() ? begin(context) : this->bytes(context, bytes);
  }
  /// It wants more bytes than these `maxBytes()`: they are all it gets.
  virtual StepVerdict full(OpeningContext& context, std::span<const uint8_t> bytes) {
    (void)context, (void)bytes;
    return StepVerdict::failed(tooLong());
  }
  virtual size_t maxBytes() const { return 16 * 1024; }
  /// It wants more bytes than these, and the peer has ended.
  virtual StepVerdict ended(OpeningContext& context, std::span<const uint8_t> bytes) = 0;

  /// How this step's end is called when the deadline passes, the connection fails, what it sends cannot be sent, or it
  /// wants too many bytes.
  virtual OpeningFailure timedOut() const = 0;
  virtual OpeningFailure aborted() const = 0;
  virtual OpeningFailure sendFailed() const { return aborted(); }
  virtual OpeningFailure tooLong() const { return aborted(); }
};

/// A step as a listener or connect() has it in its list; makes those of single connections. Shared by loops, immutable.
class OpeningStepKind {
 public:
  virtual ~OpeningStepKind() = default;
  /// For errors, e.g. "acceptProxy".
  virtual std::string_view name() const = 0;
  /// Whether this connection needs it. Asked once, when its turn has come.
  virtual bool wanted(OpeningContext& context) const {
    (void)context;
    return true;
  }
  virtual std::unique_ptr<OpeningStep> start() const = 0;
};

}  // namespace sluice
