/// echo_epoll [--service echo|discard|chargen] [--port N] [--buffer bytes]
///
/// The limit to measure against: the plainest fast echo server one would write in C. Level-triggered epoll, one
/// shared receive buffer, send at once. Only what the kernel does not take is kept, and then nothing more is read
/// from that peer until it is gone: the same back-pressure as every other competitor.
#define _GNU_SOURCE
#include <sys/epoll.h>

#include "service.h"

enum { eventsPerWait = 1024, acceptsPerTurn = 64, chunksPerTurn = 16 };

typedef struct {
  int fd;
  uint8_t* kept;  // owned: bytes the kernel did not take; NULL when there are none
  size_t keptSize, keptSent;
  uint64_t generated;  // chargen: bytes sent
} Connection;

static int poller;
static uint8_t* buffer;
static size_t bufferSize;

static void watch(Connection* connection, int operation, uint32_t interest) {
  struct epoll_event event = {.events = interest, .data.ptr = connection};
  if (epoll_ctl(poller, operation, connection->fd, &event) != 0) failed("epoll_ctl");
}

static void closeConnection(Connection* connection) {
  close(connection->fd);
  free(connection->kept);
  free(connection);
}

/// What the kernel takes of it now, 0 when it is full, -1 when the connection is lost.
static ssize_t sendSome(int fd, const uint8_t* bytes, size_t size) {
  ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
  if (sent >= 0) return sent;
  return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

static void echo(Connection* connection) {
  ssize_t received = recv(connection->fd, buffer, bufferSize, 0);
  if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (received <= 0) return closeConnection(connection);
  ssize_t sent = sendSome(connection->fd, buffer, (size_t)received);
  if (sent == received) return;
  if (sent < 0) return closeConnection(connection);
  connection->keptSize = (size_t)(received - sent);
  connection->keptSent = 0;
  connection->kept = malloc(connection->keptSize);
  if (connection->kept == NULL) failed("malloc");
  memcpy(connection->kept, buffer + sent, connection->keptSize);
  watch(connection, EPOLL_CTL_MOD, EPOLLOUT);
}

static void sendKept(Connection* connection) {
  ssize_t sent = sendSome(connection->fd, connection->kept + connection->keptSent,
                          connection->keptSize - connection->keptSent);
  if (sent < 0) return closeConnection(connection);
  connection->keptSent += (size_t)sent;
  if (connection->keptSent < connection->keptSize) return;
  free(connection->kept);
  connection->kept = NULL;
  watch(connection, EPOLL_CTL_MOD, EPOLLIN);
}

static void discard(Connection* connection) {
  ssize_t received = recv(connection->fd, buffer, bufferSize, 0);
  if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
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

static void acceptSome(int listener, uint32_t interest) {
  for (int i = 0; i < acceptsPerTurn; i++) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    sendWithoutDelay(fd);
    Connection* connection = calloc(1, sizeof *connection);
    if (connection == NULL) failed("calloc");
    connection->fd = fd;
    watch(connection, EPOLL_CTL_ADD, interest);
  }
}

int main(int argc, char** argv) {
  Service service = serviceOption(argc, argv);
  bufferSize = (size_t)numberOption(argc, argv, "buffer", 256 * 1024);
  buffer = malloc(bufferSize);
  poller = epoll_create1(EPOLL_CLOEXEC);
  int listener = listenAndAnnounce(argc, argv, SOCK_NONBLOCK);
  struct epoll_event events[eventsPerWait], own = {.events = EPOLLIN, .data.ptr = NULL};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &own) != 0) failed("epoll_ctl");

  for (;;) {
    int ready = epoll_wait(poller, events, eventsPerWait, -1);
    if (ready < 0 && errno != EINTR) failed("epoll_wait");
    for (int i = 0; i < ready; i++) {
      Connection* connection = events[i].data.ptr;
      if (connection == NULL) acceptSome(listener, service == serviceChargen ? EPOLLOUT : EPOLLIN);
      else if (service == serviceDiscard) discard(connection);
      else if (service == serviceChargen) generate(connection);
      else if (connection->kept != NULL) sendKept(connection);
      else echo(connection);
    }
  }
}
