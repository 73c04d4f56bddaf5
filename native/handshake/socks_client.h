#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "handshake/opening_failure.h"
#include "handshake/parse_status.h"

namespace sluice {

enum class SocksVersion : uint8_t {
  v4,   // the target is an IPv4 address
  v4a,  // or a domain name, which the server resolves
  v5,   // RFC 1928: IPv4, IPv6 or a domain name; user name and password by RFC 1929
};

/// What a SOCKS server is asked for: a TCP connection to `host`:`port`.
struct SocksRequest {
  SocksVersion version = SocksVersion::v5;
  /// An IP literal without scope, or a domain name of 1 to 255 bytes.
  std::string host{};
  uint16_t port = 0;
  /// SOCKS 4: the user id, which may be empty, without NUL, at most 255 bytes. SOCKS 5: with `password` offered to a server
  /// that wants it, both 1 to 255 bytes, or both empty: then only servers without authentication will do.
  std::string user{};
  std::string password{};
};

/// The client's side of SOCKS, from its first byte to the answer (HP-49). Send output(), tell sent(), give what arrives to
/// receive().
///
///   greeting ─▶ authenticating ─▶ requesting ─▶ done       SOCKS 5; without password straight to requesting
///   requesting ─▶ done                                     SOCKS 4
///   any ─▶ failed
class SocksClient {
 public:
  enum class State : uint8_t { greeting, authenticating, requesting, done, failed };

  struct Step {
    ParseStatus status = ParseStatus::needsMore;
    /// Bytes of the answers that were complete. Drop them; give the others again with what comes behind. When done, what
    /// is left is the target's.
    size_t consumed = 0;
    /// Failed: which way, and a static string for people, e.g. "connection refused by the target (5)".
    OpeningFailure failure = OpeningFailure::none;
    std::string_view text{};
  };

  /// Errors: invalidArgument when the request cannot be expressed in its version; `syscall` names the field.
  static Result<SocksClient> create(const SocksRequest& request);

  /// What is to be sent now and has not been told as sent; empty while an answer is awaited.
  std::span<const uint8_t> output() const { return std::span(output_).subspan(sent_); }
  void sent(size_t count);

  /// May make new output().
  Step receive(std::span<const uint8_t> bytes);

  /// What it means that the connection ended or failed now.
  OpeningFailure failureAtEnd() const { return isV5() ? OpeningFailure::socks5Abort : OpeningFailure::socks4Abort; }
  OpeningFailure failureAtReceive() const {
    return isV5() ? OpeningFailure::socks5Recv : OpeningFailure::socks4Recv;
  }
  OpeningFailure failureAtSend() const { return isV5() ? OpeningFailure::socks5Send : OpeningFailure::socks4Send; }

  State state() const { return state_; }
  /// The byte with which the server granted or refused: SOCKS 4 0x5A…0x5D, SOCKS 5 0…8; 0xFF before.
  uint8_t replyCode() const { return replyCode_; }
  /// The server's address towards the target, as it says; empty when it gave a name.
  const SocketAddress& boundAddress() const { return bound_; }

 private:
  explicit SocksClient(const SocksRequest& request) : request_(request) {}

  bool isV5() const { return request_.version == SocksVersion::v5; }
  void moveTo(State next);
  void queueGreeting();
  void queuePassword();
  void queueRequest5();
  void queueRequest4();
  Step receiveMethod(std::span<const uint8_t> bytes);
  Step receiveVerdict(std::span<const uint8_t> bytes);
  Step receiveReply5(std::span<const uint8_t> bytes);
  Step receiveReply4(std::span<const uint8_t> bytes);
  Step fail(OpeningFailure failure, std::string_view text);

  SocksRequest request_;
  SocketAddress target_{};  // empty: a domain name
  State state_ = State::greeting;
  std::vector<uint8_t> output_{};
  size_t sent_ = 0;
  uint8_t replyCode_ = 0xff;
  OpeningFailure failure_ = OpeningFailure::none;
  std::string_view text_{};
  SocketAddress bound_{};
};

}  // namespace sluice
