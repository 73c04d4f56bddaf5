/// echo_epoll [--service echo|discard|chargen] [--port N] [--buffer bytes]
///
/// The limit to measure against: the plainest fast echo server one would write in C. Level-triggered epoll, one
/// shared receive buffer, send at once. Only what the kernel does not take is kept, and then nothing more is read
/// from that peer until it is gone: the same back-pressure as every other competitor.
#define _GNU_SOURCE
#include "epoll_server.h"

enum { chunksPerTurn = 16 };

typedef struct {
  int fd;
  Kept kept;
  uint64_t generated;  // chargen: bytes sent
} Connection;

static Service service;

static void closeConnection(Connection* connection) {
  close(connection->fd);
  forget(&connection->kept);
  free(connection);
}

/// What the kernel takes of it now, 0 when it is full, -1 when the connection is lost.
static ssize_t sendSome(int fd, const uint8_t* bytes, size_t size) {
  ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
  if (sent >= 0) return sent;
  return wouldBlock() ? 0 : -1;
}

static void echo(Connection* connection) {
  ssize_t received = recv(connection->fd, buffer, bufferSize, 0);
  if (received < 0 && wouldBlock()) return;
  if (received <= 0) return closeConnection(connection);
  ssize_t sent = sendSome(connection->fd, buffer, (size_t)received);
  if (sent == received) return;
  if (sent < 0) return closeConnection(connection);
  keep(&connection->kept, buffer + sent, (size_t)(received - sent));
  pollFor(connection->fd, EPOLL_CTL_MOD, EPOLLOUT, connection);
}

static void sendKept(Connection* connection) {
  Kept* kept = &connection->kept;
  ssize_t sent = sendSome(connection->fd, kept->bytes + kept->sent, kept->size - kept->sent);
  if (sent < 0) return closeConnection(connection);
  kept->sent += (size_t)sent;
  if (kept->sent < kept->size) return;
  forget(kept);
  pollFor(connection->fd, EPOLL_CTL_MOD, EPOLLIN, connection);
}

static void discard(Connection* connection) {
  ssize_t received = recv(connection->fd, buffer, bufferSize, 0);
  if (received < 0 && wouldBlock()) return;
  if (received <= 0) closeConnection(connection);
}

static void generate(Connection* connection) {
  for (int chunk = 0; chunk < chunksPerTurn; chunk++) {
    const uint8_t* text = chargenText + connection->generated % chargenPeriod;
    ssize_t sent = sendSome(connection->fd, text, chargenChunk);
    if (sent < 0) return closeConnection(connection);
    connection->generated += (uint64_t)sent;
    if (sent < chargenChunk) return;
  }
}

static void accepted(int fd) {
  Connection* connection = zeroed(sizeof *connection);
  connection->fd = fd;
  pollFor(fd, EPOLL_CTL_ADD, service == serviceChargen ? EPOLLOUT : EPOLLIN, connection);
}

static void ready(void* target, uint32_t events) {
  (void)events;
  Connection* connection = target;
  if (service == serviceDiscard) discard(connection);
  else if (service == serviceChargen) generate(connection);
  else if (connection->kept.bytes != NULL) sendKept(connection);
  else echo(connection);
}

int main(int argc, char** argv) {
  service = serviceOption(argc, argv);
  serve(argc, argv, 256 * 1024, accepted, ready, NULL);
}
