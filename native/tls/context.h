#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tls/options.h"
#include "tls/server_names.h"
#include "tls/tls_error.h"

namespace sluice {

class TlsPolicy;

/// A policy that sessions share. Any thread may use it; sessions keep it alive.
class TlsContext {
 public:
  /// Errors: any option that is wrong, named by `option`. Parses certificates and may read the trust store of the
  /// system, so it takes milliseconds: make one per policy, not per connection.
  static TlsResult<std::shared_ptr<TlsContext>> create(TlsRole role, const TlsOptions& options);
  ~TlsContext();

  TlsRole role() const { return role_; }

  /// Sessions that begin from now on have these options; those that exist go on with what they have. Nothing changes
  /// on errors. Tickets stay good when `ticketKeys` is empty (then the former keys are kept) and what decides about
  /// clients is the same; sessions in the server's own memory are forgotten.
  TlsResult<void> reload(const TlsOptions& options);

  /// Servers: which context serves which names (SNI); replaces the former list, for handshakes that begin from now on.
  /// A session is switched over as a whole, before anything of the client's hello is used: certificates, versions,
  /// client authentication, ciphers, ALPN, tickets. Everybody else, with another name or none, gets what `fallbacks` say;
  /// if `strict`, the alert unrecognized_name. Errors: invalidOption (a pattern, a context of clients, this one).
  TlsResult<void> setServerNames(std::vector<TlsServerName> names, TlsFallbacks fallbacks);
  TlsResult<void> setServerNames(std::vector<TlsServerName> names, bool strict) {
    return setServerNames(std::move(names), {{.refuse = strict}, {.refuse = strict}});
  }

  /// Of the current options, e.g. for rotating; nullptr for clients.
  std::shared_ptr<TlsTicketKeys> ticketKeys() const;

  // For native/tls.
  std::shared_ptr<const TlsPolicy> policy() const;
  std::shared_ptr<const TlsServerNames> serverNames() const;

 private:
  explicit TlsContext(TlsRole role) : role_(role) {}

  const TlsRole role_;
  mutable std::mutex mutex_;  // guards the pointers, not what they point to
  std::shared_ptr<const TlsPolicy> policy_;
  std::shared_ptr<const TlsServerNames> serverNames_;
};

}  // namespace sluice
