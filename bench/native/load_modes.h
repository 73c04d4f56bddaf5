/// The five kinds of load: echo, connect, sink, source, idle. Each runs to its end, and fails at the first wrong byte.
#pragma once

#include "load_connection.h"

// ---- echo: `depth` messages under way on every connection; each that comes back sends the next.

static bool sendingMore;

static inline void sendMessages(Connection* connection, uint64_t count, uint64_t time) {
  uint64_t next = connection->due / settings.bytes;
  for (uint64_t i = 0; i < count; i++) connection->stamps[(next + i) % settings.depth] = time;
  connection->due += count * settings.bytes;
  sendDue(connection);
}

static inline void handleEcho(Connection* connection, uint32_t events) {
  if (events & EPOLLOUT) sendDue(connection);
  if (!(events & (EPOLLIN | EPOLLERR | EPOLLHUP))) return;
  uint64_t before = connection->received / settings.bytes;
  size_t size = receiveEcho(connection);
  uint64_t after = connection->received / settings.bytes, time = now();
  if (measuring) {
    measured.bytes += size;
    measured.messages += after - before;
    for (uint64_t i = before; i < after; i++)
      histogramAdd(&measured.latency, time - connection->stamps[i % settings.depth]);
  }
  if (sendingMore && after > before) sendMessages(connection, after - before, time);
}

static inline bool allEchoed(void) {
  for (uint32_t i = 0; i < settings.connections; i++)
    if (connections[i].received < connections[i].due) return false;
  return true;
}

static inline void runEcho(void) {
  openWithEcho();
  sendingMore = true;
  uint64_t begun = now();
  for (uint32_t i = 0; i < settings.connections; i++) sendMessages(&connections[i], settings.depth, begun);
  while (stillRunning(begun)) turn(handleEcho, 100);
  sendingMore = false;
  while (!allEchoed()) turn(handleEcho, 100);  // nothing may be missing at the end
  report();
}

// ---- connect: each connection echoes one message, ends, and is followed by the next.

static uint32_t connectionsBegun;

static inline void beginNext(Connection* connection) {
  beginConnecting(connection, connectionsBegun++);
  connection->begun = now();
  connection->due = settings.bytes;
  watch(connection, EPOLLIN | EPOLLOUT);
}

static inline void handleConnect(Connection* connection, uint32_t events) {
  if (!transportReady(connection)) return;
  if (events & EPOLLOUT || connection->sent < connection->due) sendDue(connection);
  if (!(events & (EPOLLIN | EPOLLERR | EPOLLHUP)) || receiveEcho(connection) == 0) return;
  if (connection->received < connection->due) return;
  if (measuring) {
    measured.messages++;
    measured.bytes += settings.bytes;
    histogramAdd(&measured.latency, now() - connection->begun);
  }
  transportClose(connection);
  beginNext(connection);
}

static inline void runConnect(void) {
  uint64_t begun = now();
  for (uint32_t i = 0; i < settings.connections; i++) beginNext(&connections[i]);
  while (stillRunning(begun)) turn(handleConnect, 100);
  report();
}

// ---- sink: we send as fast as the server reads; it must have read everything when it ends after us.

static uint32_t ended;

static inline void handleSink(Connection* connection, uint32_t events) {
  if (!transportReady(connection)) return;
  if (events & EPOLLOUT) {
    if (sendingMore || connection->blocked) {
      ssize_t sent = transportSend(connection, chargenText, settings.bytes);
      if (sent < 0 && errno != EAGAIN && errno != EINTR) failConnection(connection, "send", errno);
      if (sent > 0 && measuring) measured.bytes += (uint64_t)sent;
    } else if (transportEnd(connection)) {
      connection->saidEnd = true;
      watch(connection, EPOLLIN);
    }
  } else {
    ssize_t size = transportReceive(connection, received, receiveSize);
    if (size < 0 && errno == EAGAIN) return watch(connection, connection->saidEnd ? EPOLLIN : EPOLLOUT);
    if (size != 0) failConnection(connection, "unexpected answer of a sink", errno);
    ended++;
    transportClose(connection);
  }
}

static inline void runSink(void) {
  for (uint32_t i = 0; i < settings.connections; i++) {
    beginConnecting(&connections[i], 0);
    watch(&connections[i], EPOLLOUT);
  }
  sendingMore = true;
  uint64_t begun = now();
  while (stillRunning(begun)) turn(handleSink, 100);
  sendingMore = false;
  // A server that closed with bytes unread would send a reset, and that fails above.
  while (ended < settings.connections) turn(handleSink, 100);
  report();
}

// ---- source: the server sends the character generator's text as fast as we read.

static inline void handleSource(Connection* connection, uint32_t events) {
  (void)events;
  if (!transportReady(connection)) return;
  watch(connection, EPOLLIN);
  ssize_t size = transportReceive(connection, received, receiveSize);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) failConnection(connection, "receive", size == 0 ? 0 : errno);
  if (chargenMatch(connection->received % chargenPeriod, received, (size_t)size) < (size_t)size)
    failLoad("connection %u: wrong text after %llu bytes", connection->number,
             (unsigned long long)connection->received);
  connection->received += (uint64_t)size;
  if (measuring) measured.bytes += (uint64_t)size;
}

static inline void runSource(void) {
  for (uint32_t i = 0; i < settings.connections; i++) {
    beginConnecting(&connections[i], 0);
    watch(&connections[i], EPOLLIN | transportStart);
  }
  uint64_t begun = now();
  while (stillRunning(begun)) turn(handleSource, 100);
  report();
}

// ---- idle: opens all, says so, waits for a line on stdin, then every one must still echo.

static uint32_t checked;

static inline void handleIdle(Connection* connection, uint32_t events) {
  if (events & EPOLLOUT) sendDue(connection);
  if (!(events & (EPOLLIN | EPOLLERR | EPOLLHUP)) || receiveEcho(connection) == 0) return;
  if (connection->received == connection->due) checked++;
}

static inline void runIdle(void) {
  openWithEcho();
  printf("{\"event\":\"open\",\"connections\":%u}\n", settings.connections);
  fflush(stdout);
  while (read(STDIN_FILENO, received, 1) == 1 && received[0] != '\n') continue;
  beginMeasuring();
  for (uint32_t i = 0; i < settings.connections; i++) {
    while (i - checked >= openAtOnce) turn(handleIdle, 100);
    connections[i].due += settings.bytes;
    sendDue(&connections[i]);
  }
  while (checked < settings.connections) turn(handleIdle, 100);
  endMeasuring();
  measured.messages = settings.connections;
  report();
}
