#pragma once

#include <cstddef>
#include <list>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

struct ssl_session_st;

namespace sluice {

/// Sessions that clients may resume, by a key of host, port, names and policy (TlsSession makes it); any thread.
/// Tickets of TLS 1.3 are given out once each (RFC 8446, C.4), the newest first; older sessions again and again. When
/// it is full the key that was not used for longest goes.
class TlsClientSessions {
 public:
  static constexpr size_t perKey = 4;

  explicit TlsClientSessions(size_t maxKeys) : maxKeys_(maxKeys) {}
  TlsClientSessions(const TlsClientSessions&) = delete;
  TlsClientSessions& operator=(const TlsClientSessions&) = delete;
  ~TlsClientSessions();

  size_t size() const;
  void clear();

  /// For native/tls. Takes over one reference.
  void put(const std::string& key, ssl_session_st* session);
  /// One reference of a session that has not expired, or nullptr.
  ssl_session_st* take(const std::string& key);
  /// What this key has did not work.
  void drop(const std::string& key);

 private:
  struct Entry {
    std::string key;
    std::vector<ssl_session_st*> sessions;
  };

  mutable std::mutex mutex_;
  const size_t maxKeys_;
  std::list<Entry> entries_;  // used last comes first
  std::unordered_map<std::string, std::list<Entry>::iterator> byKey_;
};

}  // namespace sluice
