#include "tls/client_sessions.h"

#include <openssl/ssl.h>

#include <ctime>

namespace sluice {

namespace {

bool isOver(const SSL_SESSION* session) {
  const long madeAt = SSL_SESSION_get_time(session), lifetime = SSL_SESSION_get_timeout(session);
  return madeAt + lifetime <= static_cast<long>(std::time(nullptr)) || SSL_SESSION_is_resumable(session) != 1;
}

}  // namespace

TlsClientSessions::~TlsClientSessions() { clear(); }

size_t TlsClientSessions::size() const {
  std::lock_guard lock(mutex_);
  size_t count = 0;
  for (const Entry& entry : entries_) count += entry.sessions.size();
  return count;
}

void TlsClientSessions::clear() {
  std::lock_guard lock(mutex_);
  for (Entry& entry : entries_) {
    for (SSL_SESSION* session : entry.sessions) SSL_SESSION_free(session);
  }
  entries_.clear();
  byKey_.clear();
}

void TlsClientSessions::put(const std::string& key, SSL_SESSION* session) {
  std::lock_guard lock(mutex_);
  auto found = byKey_.find(key);
  if (found == byKey_.end()) {
    entries_.push_front({key, {}});
    found = byKey_.emplace(key, entries_.begin()).first;
  } else {
    entries_.splice(entries_.begin(), entries_, found->second);
  }
  auto& sessions = found->second->sessions;
  sessions.push_back(session);
  if (sessions.size() > perKey) {
    SSL_SESSION_free(sessions.front());
    sessions.erase(sessions.begin());
  }
  if (entries_.size() > maxKeys_) {
    for (SSL_SESSION* old : entries_.back().sessions) SSL_SESSION_free(old);
    byKey_.erase(entries_.back().key);
    entries_.pop_back();
  }
}

SSL_SESSION* TlsClientSessions::take(const std::string& key) {
  std::lock_guard lock(mutex_);
  const auto found = byKey_.find(key);
  if (found == byKey_.end()) return nullptr;
  SSL_SESSION* session = nullptr;
  auto& sessions = found->second->sessions;
  while (session == nullptr && !sessions.empty()) {
    SSL_SESSION* newest = sessions.back();
    const bool isSingleUse = SSL_SESSION_get_protocol_version(newest) >= TLS1_3_VERSION;
    const bool isStale = isOver(newest);
    if (isSingleUse || isStale) sessions.pop_back();
    else SSL_SESSION_up_ref(newest);
    if (isStale) SSL_SESSION_free(newest);
    else session = newest;
  }
  if (sessions.empty()) {
    entries_.erase(found->second);
    byKey_.erase(found);
  } else {
    entries_.splice(entries_.begin(), entries_, found->second);
  }
  return session;
}

void TlsClientSessions::drop(const std::string& key) {
  std::lock_guard lock(mutex_);
  const auto found = byKey_.find(key);
  if (found == byKey_.end()) return;
  for (SSL_SESSION* session : found->second->sessions) SSL_SESSION_free(session);
  entries_.erase(found->second);
  byKey_.erase(found);
}

}  // namespace sluice
