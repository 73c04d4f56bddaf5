#include "handshake/socks_client.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "handshake/byte_order.h"

namespace sluice {

namespace {

constexpr size_t maxFieldBytes = 255;
constexpr uint8_t version4 = 4, version5 = 5, passwordVersion = 1, commandConnect = 1;
constexpr uint8_t methodNone = 0, methodPassword = 2, methodUnacceptable = 0xff;
constexpr uint8_t typeV4 = 1, typeDomain = 3, typeV6 = 4;

bool mayMove(SocksClient::State from, SocksClient::State to) {
  using enum SocksClient::State;
  switch (from) {
    case greeting: return to == authenticating || to == requesting || to == failed;
    case authenticating: return to == requesting || to == failed;
    case requesting: return to == done || to == failed;
    case done:
    case failed: return false;
  }
  return false;
}

std::string_view text4(uint8_t code) {
  switch (code) {
    case 0x5b: return "request rejected or failed (91)";
    case 0x5c: return "the server cannot reach our identd (92)";
    case 0x5d: return "our identd names another user (93)";
    default: return "refused with a code that SOCKS 4 does not have";
  }
}

std::string_view text5(uint8_t code) {
  switch (code) {
    case 1: return "general failure of the server (1)";
    case 2: return "not allowed by the server's rules (2)";
    case 3: return "network unreachable (3)";
    case 4: return "host unreachable (4)";
    case 5: return "connection refused by the target (5)";
    case 6: return "time to live expired (6)";
    case 7: return "the server does not know CONNECT (7)";
    case 8: return "the server does not know this type of address (8)";
    default: return "refused with a code that SOCKS 5 does not have";
  }
}

Error invalid(const char* field) { return {ErrorCode::invalidArgument, EINVAL, field}; }

bool fits(std::string_view text, size_t least) {
  return text.size() >= least && text.size() <= maxFieldBytes && text.find('\0') == std::string_view::npos;
}

void append(std::vector<uint8_t>& to, std::string_view text) { to.insert(to.end(), text.begin(), text.end()); }

void appendCounted(std::vector<uint8_t>& to, std::string_view text) {
  to.push_back(static_cast<uint8_t>(text.size()));
  append(to, text);
}

}  // namespace

Result<SocksClient> SocksClient::create(const SocksRequest& request) {
  SocksClient client(request);
  if (!fits(request.host, 1)) return invalid("host");
  if (auto target = SocketAddress::ip(request.host, request.port)) {
    if (request.host.find('%') != std::string::npos) return invalid("host");
    client.target_ = *target;
  } else if (request.host.find(':') != std::string::npos) {
    return invalid("host");
  }
  if (request.version == SocksVersion::v5) {
    const bool hasUser = !request.user.empty();
    if (hasUser != !request.password.empty()) return invalid(hasUser ? "password" : "user");
    if (!fits(request.user, 0)) return invalid("user");
    if (!fits(request.password, 0)) return invalid("password");
    client.queueGreeting();
    return client;
  }
  if (client.target_.family() == AF_INET6) return invalid("host");
  if (request.version == SocksVersion::v4 && client.target_.family() != AF_INET) return invalid("host");
  if (!fits(request.user, 0)) return invalid("user");
  if (!request.password.empty()) return invalid("password");
  client.queueRequest4();
  client.moveTo(State::requesting);
  return client;
}

void SocksClient::sent(size_t count) {
  SLUICE_ASSERT(count <= output_.size() - sent_);
  sent_ += count;
}

SocksClient::Step SocksClient::receive(std::span<const uint8_t> bytes) {
  Step total;
  while (state_ != State::done && state_ != State::failed) {
    const std::span<const uint8_t> rest = bytes.subspan(total.consumed);
    const State before = state_;
    Step step;
    switch (state_) {
      case State::greeting: step = receiveMethod(rest); break;
      case State::authenticating: step = receiveVerdict(rest); break;
      default: step = isV5() ? receiveReply5(rest) : receiveReply4(rest); break;
    }
    total.consumed += step.consumed;
    if (step.status == ParseStatus::failed) {
      step.consumed = total.consumed;
      return step;
    }
    if (state_ == before) return total;
  }
  total.status = state_ == State::done ? ParseStatus::done : ParseStatus::failed;
  if (state_ == State::failed) {
    total.failure = failure_;
    total.text = text_;
  }
  return total;
}

void SocksClient::moveTo(State next) {
  SLUICE_ASSERT(mayMove(state_, next));
  state_ = next;
}

void SocksClient::queueGreeting() {
  output_ = request_.user.empty() ? std::vector<uint8_t>{version5, 1, methodNone}
                                  : std::vector<uint8_t>{version5, 2, methodNone, methodPassword};
}

void SocksClient::queuePassword() {
  output_.push_back(passwordVersion);
  appendCounted(output_, request_.user);
  appendCounted(output_, request_.password);
}

void SocksClient::queueRequest5() {
  append(output_, std::string_view("\5\1\0", 3));
  if (target_.family() == AF_UNSPEC) {
    output_.push_back(typeDomain);
    appendCounted(output_, request_.host);
  } else {
    output_.push_back(target_.family() == AF_INET ? typeV4 : typeV6);
    append(output_, hostBytes(target_));
  }
  append16(output_, request_.port);
}

void SocksClient::queueRequest4() {
  output_ = {version4, commandConnect};
  append16(output_, request_.port);
  if (target_.family() == AF_INET) {
    append(output_, hostBytes(target_));
  } else {
    // 0.0.0.x says that a name follows.
    append(output_, std::string_view("\0\0\0\1", 4));
  }
  append(output_, request_.user);
  output_.push_back(0);
  if (target_.family() == AF_INET) return;
  append(output_, request_.host);
  output_.push_back(0);
}

SocksClient::Step SocksClient::receiveMethod(std::span<const uint8_t> bytes) {
  if (!bytes.empty() && bytes[0] != version5) {
    return fail(OpeningFailure::socks5BadReply, "the server does not speak SOCKS 5");
  }
  if (bytes.size() < 2) return {};
  const uint8_t method = bytes[1];
  if (method == methodUnacceptable) {
    return fail(OpeningFailure::socks5NoMethod, request_.user.empty()
                                                    ? "the server wants authentication, and no password was given"
                                                    : "the server takes neither password nor none");
  }
  if (method == methodNone) {
    queueRequest5();
    moveTo(State::requesting);
  } else if (method == methodPassword && !request_.user.empty()) {
    queuePassword();
    moveTo(State::authenticating);
  } else {
    return fail(OpeningFailure::socks5BadReply, "the server chose a way to authenticate that was not offered");
  }
  return {.consumed = 2};
}

SocksClient::Step SocksClient::receiveVerdict(std::span<const uint8_t> bytes) {
  // Some servers put their own version here.
  if (!bytes.empty() && bytes[0] != passwordVersion && bytes[0] != version5) {
    return fail(OpeningFailure::socks5BadReply, "the answer to the password has an unknown version");
  }
  if (bytes.size() < 2) return {};
  if (bytes[1] != 0) return fail(OpeningFailure::socks5AuthDeny, "user name or password are wrong");
  queueRequest5();
  moveTo(State::requesting);
  return {.consumed = 2};
}

SocksClient::Step SocksClient::receiveReply5(std::span<const uint8_t> bytes) {
  if (!bytes.empty() && bytes[0] != version5) {
    return fail(OpeningFailure::socks5BadReply, "the answer has another version");
  }
  if (bytes.size() < 2) return {};
  replyCode_ = bytes[1];
  // Servers that refuse do not always send the rest.
  if (replyCode_ != 0) return fail(OpeningFailure::socks5Deny, text5(replyCode_));
  if (bytes.size() < 5) return {};
  const uint8_t type = bytes[3];
  size_t hostBytes = 0;
  switch (type) {
    case typeV4: hostBytes = 4; break;
    case typeV6: hostBytes = 16; break;
    case typeDomain: hostBytes = 1u + bytes[4]; break;
    default: return fail(OpeningFailure::socks5BadReply, "the answer has an unknown type of address");
  }
  const size_t total = 4 + hostBytes + 2;
  if (bytes.size() < total) return {};
  const uint16_t port = bigEndian16(bytes.subspan(4 + hostBytes));
  if (type == typeV4) bound_ = addressV4(bytes.subspan(4), port);
  if (type == typeV6) bound_ = addressV6(bytes.subspan(4), port);
  moveTo(State::done);
  return {.consumed = total};
}

SocksClient::Step SocksClient::receiveReply4(std::span<const uint8_t> bytes) {
  constexpr uint8_t granted = 0x5a, replyVersion = 0;
  constexpr size_t replyBytes = 8;
  if (!bytes.empty() && bytes[0] != replyVersion) {
    return fail(OpeningFailure::socks4BadReply, "the server does not speak SOCKS 4");
  }
  if (bytes.size() < 2) return {};
  replyCode_ = bytes[1];
  if (replyCode_ != granted) return fail(OpeningFailure::socks4Deny, text4(replyCode_));
  if (bytes.size() < replyBytes) return {};
  bound_ = addressV4(bytes.subspan(4), bigEndian16(bytes.subspan(2)));
  moveTo(State::done);
  return {.consumed = replyBytes};
}

SocksClient::Step SocksClient::fail(OpeningFailure failure, std::string_view text) {
  moveTo(State::failed);
  failure_ = failure;
  text_ = text;
  return {.status = ParseStatus::failed, .failure = failure, .text = text};
}

}  // namespace sluice
