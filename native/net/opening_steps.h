#pragma once

#include <memory>
#include <string>

#include "handshake/netscaler_header.h"
#include "handshake/opening_step.h"
#include "handshake/proxy_header.h"
#include "handshake/proxy_send.h"
#include "handshake/socks_client.h"

namespace sluice {

class SharedCidrSet;

/// The steps there are, as listeners and connects have them in their lists.
namespace opening_steps {

using Kind = std::unique_ptr<OpeningStepKind>;
using Networks = std::shared_ptr<const SharedCidrSet>;

/// From whom a header is to come. It is never guessed whether one does (HP-30).
struct HeaderSources {
  Networks from;        // null: from everybody; otherwise from these alone, and from others none
  bool byRule = false;  // from those of whom a rule says so (HP-55)
};

struct AcceptProxyOptions {
  HeaderSources sources;
  ProxyLimits limits;
  bool version1 = true, version2 = true;
};
Kind acceptProxy(AcceptProxyOptions options);

struct AcceptNetscalerOptions {
  HeaderSources sources;
  uint32_t magic = 0;
};
Kind acceptNetscaler(AcceptNetscalerOptions options);

struct MonitorOptions {
  enum class Answer : uint8_t { plain, http, none };
  Networks networks;  // null: whoever connects
  Answer answer = Answer::plain;
};
/// Answers at once and ends the connection, whatever it wants (HP-18, HP-19).
Kind monitor(MonitorOptions options);

struct SniffOptions {
  bool allowPlain = false;
  uint32_t plainAfterMs = 0;  // nothing has come for so long: it waits for us to begin, in the clear. 0: never
};
/// Tells TLS from plaintext by the first bytes, and leaves them where they are (SV-02).
Kind sniff(SniffOptions options);

struct ScriptOptions {
  std::string name;
  uint32_t number = 0;  // JavaScript's, in its list
  uint32_t maxBytes = 16 * 1024;
};
/// A step of JavaScript's.
Kind script(ScriptOptions options);

/// Requires: SocksClient::create(request) succeeds.
Kind socks(SocksRequest request);

/// Without addresses of its own the header names those of the socket. Requires: writeProxyHeader() succeeds for it.
Kind sendProxy(ProxySend send);

}  // namespace opening_steps
}  // namespace sluice
