#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "tls/tls_error.h"

namespace sluice {

/// The keys of session tickets, shared by any number of contexts and threads (HP-90). One encrypts, all decrypt; a
/// ticket of a key that does not encrypt any more is taken, and replaced by one of the key that does.
///
/// A key is 48 bytes (name 16, AES-128 16, HMAC 16) or 80 (name 16, HMAC 32, AES-256 32), as files for HAProxy and
/// nginx have them.
class TlsTicketKeys {
 public:
  static constexpr size_t maxKeys = 16;

  /// One random key.
  static TlsResult<std::shared_ptr<TlsTicketKeys>> create();
  ~TlsTicketKeys();

  /// Replaces all: oldest first. `encryptIndex` says which encrypts; -1 means the last of one or two, and the last but
  /// one of three and more, so that a new key can be distributed before anybody uses it. Errors: badTicketKey (number,
  /// length, index, a name twice), with nothing changed.
  TlsResult<void> set(const std::vector<std::string>& keys, int encryptIndex = -1);
  /// A new random key encrypts from now on. `keep` older ones still decrypt. Returns the key.
  TlsResult<std::string> rotate(size_t keep = 2);
  /// All keys, oldest first, for other processes; and which encrypts.
  std::vector<std::string> keys() const;
  size_t encryptIndex() const;

  /// One key, as OpenSSL's callback needs it. For native/tls.
  struct Key {
    uint8_t name[16], hmac[32], aes[32];
    uint8_t size;  // of hmac and aes, 16 or 32
  };
  Key encrypting() const;
  /// `current`: it is the one that encrypts.
  bool find(const uint8_t name[16], Key& key, bool& current) const;

 private:
  TlsTicketKeys() = default;

  mutable std::mutex mutex_;
  std::vector<Key> keys_;
  size_t encrypting_ = 0;
};

}  // namespace sluice
