#include "tls/ticket_keys.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>

#include "tls/library.h"
#include "tls/library_errors.h"

namespace sluice {

namespace {

constexpr size_t nameBytes = 16, shortBytes = 48, longBytes = 80;

TlsTicketKeys::Key decode(const std::string& bytes) {
  TlsTicketKeys::Key key{};
  key.size = bytes.size() == shortBytes ? 16 : 32;
  const char* at = bytes.data();
  std::memcpy(key.name, at, nameBytes);
  at += nameBytes;
  // The two halves of a short key stand in the other order, as in the files of HAProxy and nginx.
  std::memcpy(key.size == 16 ? key.aes : key.hmac, at, key.size);
  std::memcpy(key.size == 16 ? key.hmac : key.aes, at + key.size, key.size);
  return key;
}

std::string encode(const TlsTicketKeys::Key& key) {
  std::string bytes(reinterpret_cast<const char*>(key.name), nameBytes);
  bytes.append(reinterpret_cast<const char*>(key.size == 16 ? key.aes : key.hmac), key.size);
  bytes.append(reinterpret_cast<const char*>(key.size == 16 ? key.hmac : key.aes), key.size);
  return bytes;
}

bool sameName(const TlsTicketKeys::Key& key, const uint8_t* name) {
  return std::memcmp(key.name, name, nameBytes) == 0;
}

TlsResult<TlsTicketKeys::Key> randomKey() {
  uint8_t bytes[longBytes];
  if (RAND_bytes(bytes, sizeof bytes) != 1)
    return optionError(TlsFailure::fatal, "", "OpenSSL has no random bytes");
  TlsTicketKeys::Key key = decode(std::string(reinterpret_cast<char*>(bytes), sizeof bytes));
  OPENSSL_cleanse(bytes, sizeof bytes);
  return key;
}

TlsError badKey(size_t index, std::string text) {
  return optionError(TlsFailure::badTicketKey, "ticketKeys[" + std::to_string(index) + "]", std::move(text));
}

}  // namespace

TlsResult<std::shared_ptr<TlsTicketKeys>> TlsTicketKeys::create() {
  if (auto library = TlsLibrary::check(); !library) return library.error();
  auto first = randomKey();
  if (!first) return first.error();
  std::shared_ptr<TlsTicketKeys> keys(new TlsTicketKeys());
  keys->keys_.push_back(*first);
  return keys;
}

TlsTicketKeys::~TlsTicketKeys() {
  if (!keys_.empty()) OPENSSL_cleanse(keys_.data(), keys_.size() * sizeof(Key));
}

TlsResult<void> TlsTicketKeys::set(const std::vector<std::string>& keys, int encryptIndex) {
  if (keys.empty() || keys.size() > maxKeys) {
    return optionError(TlsFailure::badTicketKey, "ticketKeys",
                       std::to_string(keys.size()) + " keys; 1 to " + std::to_string(maxKeys) + " are allowed");
  }
  std::vector<Key> decoded;
  for (size_t i = 0; i < keys.size(); i++) {
    if (keys[i].size() != shortBytes && keys[i].size() != longBytes) {
      return badKey(i, std::to_string(keys[i].size()) + " bytes; 48 or 80 are allowed");
    }
    const Key key = decode(keys[i]);
    for (const Key& former : decoded) {
      if (sameName(former, key.name)) return badKey(i, "another key has the same name, its first 16 bytes");
    }
    decoded.push_back(key);
  }
  if (encryptIndex < -1 || encryptIndex >= static_cast<int>(keys.size())) {
    return optionError(TlsFailure::badTicketKey, "encryptIndex",
                       std::to_string(encryptIndex) + " of " + std::to_string(keys.size()) + " keys");
  }
  const size_t count = keys.size();
  std::lock_guard lock(mutex_);
  keys_ = std::move(decoded);
  encrypting_ = encryptIndex >= 0 ? static_cast<size_t>(encryptIndex) : count >= 3 ? count - 2 : count - 1;
  return {};
}

TlsResult<std::string> TlsTicketKeys::rotate(size_t keep) {
  auto fresh = randomKey();
  if (!fresh) return fresh.error();
  std::lock_guard lock(mutex_);
  keep = std::min(keep, maxKeys - 1);
  if (keys_.size() > keep) keys_.erase(keys_.begin(), keys_.end() - static_cast<std::ptrdiff_t>(keep));
  keys_.push_back(*fresh);
  encrypting_ = keys_.size() - 1;
  return encode(*fresh);
}

std::vector<std::string> TlsTicketKeys::keys() const {
  std::lock_guard lock(mutex_);
  std::vector<std::string> encoded;
  for (const Key& key : keys_) encoded.push_back(encode(key));
  return encoded;
}

size_t TlsTicketKeys::encryptIndex() const {
  std::lock_guard lock(mutex_);
  return encrypting_;
}

TlsTicketKeys::Key TlsTicketKeys::encrypting() const {
  std::lock_guard lock(mutex_);
  return keys_[encrypting_];
}

bool TlsTicketKeys::find(const uint8_t name[16], Key& key, bool& current) const {
  std::lock_guard lock(mutex_);
  for (size_t i = 0; i < keys_.size(); i++) {
    if (!sameName(keys_[i], name)) continue;
    key = keys_[i];
    current = i == encrypting_;
    return true;
  }
  return false;
}

}  // namespace sluice
