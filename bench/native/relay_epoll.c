/// relay_epoll --upstream N [--via buffer|splice] [--port N] [--buffer bytes] [--service relay]
///
/// The limit to measure a relay against: the plainest fast one that one would write in C. Level-triggered epoll, one
/// shared receive buffer, sent on at once; or splice(2) through a pipe per connection. What the kernel does not take
/// stays, and nothing more is read from that side until it is gone.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <sys/epoll.h>

#include "service.h"

enum { eventsPerWait = 1024, acceptsPerTurn = 64 };

/// One side of a relayed connection.
typedef struct Side {
  struct Side* other;
  int fd;
  uint32_t watched;
  bool ended;              // it has sent all
  uint8_t* kept;           // owned: bytes for it that the kernel did not take; NULL when there are none
  size_t keptSize, keptSent;
  int pipe[2];             // on the way to it
  size_t piped;            // bytes in there
  bool dead;               // freed after this turn
} Side;

static int poller;
static uint8_t* buffer;
static size_t bufferSize;
static bool splices;
static struct sockaddr_in upstream = {.sin_family = AF_INET};
static Side* dead[2 * eventsPerWait];
static int deadCount;

static void watch(Side* side) {
  bool blocked = side->kept != NULL || side->piped > 0;
  bool mayRead = !side->ended && side->other->kept == NULL && side->other->piped == 0;
  uint32_t interest = (mayRead ? EPOLLIN : 0u) | (blocked ? EPOLLOUT : 0u);
  if (interest == side->watched) return;
  side->watched = interest;
  struct epoll_event event = {.events = interest, .data.ptr = side};
  if (epoll_ctl(poller, EPOLL_CTL_MOD, side->fd, &event) != 0) failed("epoll_ctl");
}

static void closeBoth(Side* side) {
  for (int i = 0; i < 2; i++, side = side->other) {
    if (side->dead) continue;
    side->dead = true;
    dead[deadCount++] = side;
    close(side->fd);
    if (splices) close(side->pipe[0]), close(side->pipe[1]);
    free(side->kept);
  }
}

static bool wouldBlock(void) { return errno == EAGAIN || errno == EINTR; }

static void passEnd(Side* from) {
  from->ended = true;
  shutdown(from->other->fd, SHUT_WR);
  if (from->other->ended) closeBoth(from);
  else watch(from);
}

static void relayBuffered(Side* from) {
  Side* to = from->other;
  ssize_t received = recv(from->fd, buffer, bufferSize, 0);
  if (received < 0 && wouldBlock()) return;
  if (received == 0) return passEnd(from);
  if (received < 0) return closeBoth(from);
  ssize_t sent = send(to->fd, buffer, (size_t)received, MSG_NOSIGNAL);
  if (sent == received) return;
  if (sent < 0 && !wouldBlock()) return closeBoth(from);
  if (sent < 0) sent = 0;
  to->keptSize = (size_t)(received - sent);
  to->keptSent = 0;
  to->kept = malloc(to->keptSize);
  if (to->kept == NULL) failed("malloc");
  memcpy(to->kept, buffer + sent, to->keptSize);
  watch(from);
  watch(to);
}

/// False when the connection is lost.
static bool emptyPipe(Side* to) {
  while (to->piped > 0) {
    ssize_t moved = splice(to->pipe[0], NULL, to->fd, NULL, to->piped, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (moved < 0) return wouldBlock();
    to->piped -= (size_t)moved;
  }
  return true;
}

static void relaySpliced(Side* from) {
  Side* to = from->other;
  ssize_t got = splice(from->fd, NULL, to->pipe[1], NULL, bufferSize, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (got < 0 && wouldBlock()) return;
  if (got == 0) return passEnd(from);
  if (got < 0) return closeBoth(from);
  to->piped += (size_t)got;
  if (!emptyPipe(to)) return closeBoth(from);
  if (to->piped == 0) return;
  watch(from);
  watch(to);
}

static void drain(Side* to) {
  if (splices) {
    if (!emptyPipe(to)) return closeBoth(to);
    if (to->piped > 0) return;
  } else {
    ssize_t sent = send(to->fd, to->kept + to->keptSent, to->keptSize - to->keptSent, MSG_NOSIGNAL);
    if (sent < 0 && !wouldBlock()) return closeBoth(to);
    if (sent > 0) to->keptSent += (size_t)sent;
    if (to->keptSent < to->keptSize) return;
    free(to->kept);
    to->kept = NULL;
  }
  watch(to);
  watch(to->other);
}

static Side* newSide(int fd) {
  Side* side = calloc(1, sizeof *side);
  if (side == NULL) failed("calloc");
  side->fd = fd;
  side->watched = EPOLLIN;
  sendWithoutDelay(fd);
  if (splices && pipe2(side->pipe, O_NONBLOCK | O_CLOEXEC) != 0) failed("pipe2");
  if (splices) fcntl(side->pipe[0], F_SETPIPE_SZ, (int)bufferSize);
  return side;
}

static void acceptSome(int listener) {
  for (int i = 0; i < acceptsPerTurn; i++) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    int out = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (out < 0) failed("socket");
    if (connect(out, (struct sockaddr*)&upstream, sizeof upstream) != 0 && errno != EINPROGRESS) failed("connect");
    Side *client = newSide(fd), *server = newSide(out);
    client->other = server;
    server->other = client;
    for (Side* side = client; side != NULL; side = side == client ? server : NULL) {
      struct epoll_event event = {.events = EPOLLIN, .data.ptr = side};
      if (epoll_ctl(poller, EPOLL_CTL_ADD, side->fd, &event) != 0) failed("epoll_ctl");
    }
  }
}

int main(int argc, char** argv) {
  splices = strcmp(textOption(argc, argv, "via", "buffer"), "splice") == 0;
  upstream.sin_port = htons((uint16_t)numberOption(argc, argv, "upstream", 0));
  upstream.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  bufferSize = (size_t)numberOption(argc, argv, "buffer", 64 * 1024);
  buffer = malloc(bufferSize);
  poller = epoll_create1(EPOLL_CLOEXEC);
  int listener = listenAndAnnounce(argc, argv, SOCK_NONBLOCK);
  struct epoll_event events[eventsPerWait], own = {.events = EPOLLIN, .data.ptr = NULL};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &own) != 0) failed("epoll_ctl");

  for (;;) {
    int ready = epoll_wait(poller, events, eventsPerWait, -1);
    if (ready < 0 && errno != EINTR) failed("epoll_wait");
    for (int i = 0; i < ready; i++) {
      Side* side = events[i].data.ptr;
      if (side == NULL) {
        acceptSome(listener);
        continue;
      }
      if (!side->dead && (events[i].events & EPOLLOUT) != 0) drain(side);
      if (side->dead || (events[i].events & ~(uint32_t)EPOLLOUT) == 0 || (side->watched & EPOLLIN) == 0) continue;
      if (splices) relaySpliced(side);
      else relayBuffered(side);
    }
    while (deadCount > 0) free(dead[--deadCount]);
  }
}
