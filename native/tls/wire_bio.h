#pragma once

#include <cstddef>

struct bio_st;

namespace sluice {

class TlsSession;

/// A BIO whose other end is a session's lent bytes and its TlsWire.
class TlsWireBio {
 public:
  /// nullptr: out of memory.
  static bio_st* make(TlsSession* session);

 private:
  static int read(bio_st* bio, char* into, size_t size, size_t* got);
  static int write(bio_st* bio, const char* from, size_t size, size_t* taken);
  static long control(bio_st* bio, int command, long number, void* pointer);
  static int create(bio_st* bio);
};

}  // namespace sluice
