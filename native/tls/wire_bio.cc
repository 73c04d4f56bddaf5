#include "tls/wire_bio.h"

#include <openssl/bio.h>

#include "tls/session.h"

namespace sluice {

namespace {

TlsSession* sessionOf(BIO* bio) { return static_cast<TlsSession*>(BIO_get_data(bio)); }

}  // namespace

int TlsWireBio::read(BIO* bio, char* into, size_t size, size_t* got) {
  BIO_clear_retry_flags(bio);
  *got = sessionOf(bio)->readWire(reinterpret_cast<uint8_t*>(into), size);
  if (*got > 0) return 1;
  // The end of the wire is never told: OpenSSL would give up the session, which may still send (LE-85).
  BIO_set_retry_read(bio);
  return -1;
}

int TlsWireBio::write(BIO* bio, const char* from, size_t size, size_t* taken) {
  BIO_clear_retry_flags(bio);
  *taken = sessionOf(bio)->writeWire(reinterpret_cast<const uint8_t*>(from), size);
  if (*taken > 0) return 1;
  BIO_set_retry_write(bio);
  return -1;  // SSL_shutdown() takes 0 for success
}

long TlsWireBio::control(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

int TlsWireBio::create(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

BIO* TlsWireBio::make(TlsSession* session) {
  // For as long as the process lives.
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sluice");
    if (made == nullptr) return made;
    BIO_meth_set_read_ex(made, &TlsWireBio::read);
    BIO_meth_set_write_ex(made, &TlsWireBio::write);
    BIO_meth_set_ctrl(made, &TlsWireBio::control);
    BIO_meth_set_create(made, &TlsWireBio::create);
    return made;
  }();
  if (method == nullptr) return nullptr;
  BIO* bio = BIO_new(method);
  if (bio != nullptr) BIO_set_data(bio, session);
  return bio;
}

}  // namespace sluice
