/// Opening, sending and receiving on one connection of the load generator, over the transport included before.
#pragma once

#include "load_state.h"

/// Begins to connect, from 127.0.0.2, .3, … in turn of `source`, so that ports last for as many as we like.
static inline void beginConnecting(Connection* connection, uint32_t source) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
  if (fd < 0) failLoad("connection %u: socket: %s", connection->number, strerror(errno));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
  struct sockaddr_in address = {.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + source % 250);
  if (bind(fd, (struct sockaddr*)&address, sizeof address) != 0) failLoad("bind: %s", strerror(errno));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(settings.port);
  if (connect(fd, (struct sockaddr*)&address, sizeof address) != 0 && errno != EINPROGRESS)
    failLoad("connection %u: connect: %s", connection->number, strerror(errno));
  connection->fd = fd;
  connection->interest = 0;
  connection->due = connection->sent = connection->received = 0;
  transportOpen(connection);
}

static inline void failConnection(const Connection* connection, const char* what, int error) {
  failLoad("connection %u: %s after %llu bytes: %s", connection->number, what,
           (unsigned long long)connection->received, error == 0 ? "closed by the server" : transportError(error));
}

/// The first bytes of a connection, with a PROXY header before them, in one piece; a new connection has room for that.
static inline ssize_t sendWithHeader(Connection* connection, const uint8_t* bytes, size_t size) {
  // Version 2, PROXY, TCP over IPv4: 192.0.2.1:56324 to 198.51.100.5:443.
  static const uint8_t header[28] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\5\xdc\4\1\xbb";
  uint8_t both[4096];
  if (size > sizeof both - sizeof header) size = sizeof both - sizeof header;
  memcpy(both, header, sizeof header);
  memcpy(both + sizeof header, bytes, size);
  ssize_t sent = transportSend(connection, both, sizeof header + size);
  if (sent >= 0 && sent < (ssize_t)(sizeof header))
    failLoad("connection %u: no room for a header", connection->number);
  return sent < 0 ? sent : sent - (ssize_t)sizeof header;
}

/// Sends what is due. Asks to hear of room when the kernel does not take all of it.
static inline void sendDue(Connection* connection) {
  while (connection->sent < connection->due) {
    uint64_t size = connection->due - connection->sent;
    if (size > patternLongestRun) size = patternLongestRun;
    const uint8_t* bytes = patternAt(connection->start, connection->sent);
    bool first = settings.preface && connection->sent == 0;
    ssize_t sent = first ? sendWithHeader(connection, bytes, size) : transportSend(connection, bytes, size);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return watch(connection, EPOLLIN | EPOLLOUT);
    if (sent < 0) failConnection(connection, "send", errno);
    connection->sent += (uint64_t)sent;
  }
  watch(connection, EPOLLIN);
}

/// Takes what has come and compares every byte. Returns how many came.
static inline size_t receiveEcho(Connection* connection) {
  ssize_t size = transportReceive(connection, received, receiveSize);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (size <= 0) failConnection(connection, "receive", size == 0 ? 0 : errno);
  if (connection->received + (uint64_t)size > connection->sent)
    failLoad("connection %u: more bytes came back than were sent", connection->number);
  size_t right = patternMatch(connection->start, connection->received, received, (size_t)size);
  if (right < (size_t)size)
    failLoad("connection %u: byte %llu is 0x%02x, expected 0x%02x", connection->number,
             (unsigned long long)(connection->received + right), received[right],
             *patternAt(connection->start, connection->received + right));
  connection->received += (uint64_t)size;
  return (size_t)size;
}

/// Waits for events and hands each to `handle`.
static inline void turn(void (*handle)(Connection*, uint32_t), int timeoutMs) {
  struct epoll_event events[eventsPerWait];
  int ready = epoll_wait(poller, events, eventsPerWait, timeoutMs);
  if (ready < 0 && errno != EINTR) failLoad("epoll_wait: %s", strerror(errno));
  for (int i = 0; i < ready; i++) handle(events[i].data.ptr, events[i].events);
}

static uint32_t openCount;

static inline void handleFirstEcho(Connection* connection, uint32_t events) {
  if (connection->due == 0) connection->due = settings.bytes;
  if (!transportReady(connection)) return;
  if (events & EPOLLOUT || connection->sent < connection->due) sendDue(connection);
  if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) && receiveEcho(connection) > 0 &&
      connection->received == connection->due)
    openCount++;
}

/// Opens all connections, a few at a time; each has sent a message and got it back when this returns.
static inline void openWithEcho(void) {
  for (uint32_t begun = 0; openCount < settings.connections;) {
    while (begun < settings.connections && begun - openCount < openAtOnce) {
      beginConnecting(&connections[begun], begun / portsPerSource);
      watch(&connections[begun], EPOLLIN | EPOLLOUT);
      begun++;
    }
    turn(handleFirstEcho, -1);
  }
}
