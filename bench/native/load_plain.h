/// The load generator's bytes, as they are: what load.c calls a transport. load_tls.h has the same functions.
#pragma once

#include "load_state.h"

// What to wait for once connected, so that a connection gets going.
enum { transportStart = 0 };

static inline void transportPrepare(int argc, char** argv) { (void)argc, (void)argv; }
static inline void transportOpen(Connection* connection) { (void)connection; }
/// Whether bytes may be sent and received now. False: something is waited for, and the next event asks again.
static inline bool transportReady(Connection* connection) { return (void)connection, true; }
/// As send(2) and recv(2): -1 and EAGAIN when it would block.
static inline ssize_t transportSend(Connection* connection, const uint8_t* bytes, size_t size) {
  return send(connection->fd, bytes, size, MSG_NOSIGNAL);
}
static inline ssize_t transportReceive(Connection* connection, uint8_t* into, size_t size) {
  return recv(connection->fd, into, size, 0);
}
/// Ends what we send. False: the kernel has no room for it; to be asked again.
static inline bool transportEnd(Connection* connection) { return shutdown(connection->fd, SHUT_WR), true; }
static inline void transportClose(Connection* connection) { close(connection->fd); }
/// What went wrong, in words.
static inline const char* transportError(int error) { return strerror(error); }
