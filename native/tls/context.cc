#include "tls/context.h"

#include "tls/policy.h"
#include "tls/ticket_keys.h"

namespace sluice {

TlsResult<std::shared_ptr<TlsContext>> TlsContext::create(TlsRole role, const TlsOptions& options) {
  auto policy = TlsPolicy::create(role, options, nullptr);
  if (!policy) return policy.error();
  std::shared_ptr<TlsContext> context(new TlsContext(role));
  context->policy_ = std::move(*policy);
  return context;
}

TlsContext::~TlsContext() = default;

TlsResult<void> TlsContext::reload(const TlsOptions& options) {
  auto fresh = TlsPolicy::create(role_, options, ticketKeys());
  if (!fresh) return fresh.error();
  std::shared_ptr<const TlsPolicy> former = std::move(*fresh);
  std::lock_guard lock(mutex_);
  policy_.swap(former);  // the former one goes when the lock has gone
  return {};
}

TlsResult<void> TlsContext::setServerNames(std::vector<TlsServerName> names, TlsFallbacks fallbacks) {
  const auto refused = [](std::string option, std::string text) {
    return TlsError{TlsFailure::invalidOption, TlsStage::options, "", std::move(option), std::move(text)};
  };
  if (role_ != TlsRole::server) return refused("serverNames", "names are for servers");
  for (size_t i = 0; i < names.size(); i++) {
    if (names[i].context.get() != this) continue;
    return refused("serverNames[" + std::to_string(i) + "]", "a context serves all other names by itself");
  }
  for (const TlsFallback* fallback : {&fallbacks.unknown, &fallbacks.nameless}) {
    if (fallback->context != nullptr && (fallback->context.get() == this || fallback->context->role() != role_)) {
      return refused("fallbacks", "another context of servers is due");
    }
  }
  auto table = TlsServerNames::create(std::move(names), std::move(fallbacks));
  if (!table) return table.error();
  std::shared_ptr<const TlsServerNames> former = std::move(*table);
  std::lock_guard lock(mutex_);
  serverNames_.swap(former);
  return {};
}

std::shared_ptr<TlsTicketKeys> TlsContext::ticketKeys() const {
  std::lock_guard lock(mutex_);
  return policy_->ticketKeys;
}

std::shared_ptr<const TlsPolicy> TlsContext::policy() const {
  std::lock_guard lock(mutex_);
  return policy_;
}

std::shared_ptr<const TlsServerNames> TlsContext::serverNames() const {
  std::lock_guard lock(mutex_);
  return serverNames_;
}

}  // namespace sluice
