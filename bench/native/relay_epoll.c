/// relay_epoll --upstream N [--via buffer|splice] [--port N] [--buffer bytes] [--service relay]
///
/// The limit to measure a relay against: the plainest fast one that one would write in C. Level-triggered epoll, one
/// shared receive buffer, sent on at once; or splice(2) through a pipe per connection. What the kernel does not take
/// stays, and nothing more is read from that side until it is gone.
#define _GNU_SOURCE
#include <fcntl.h>

#include "epoll_server.h"

/// One side of a relayed connection.
typedef struct Side {
  struct Side* other;
  int fd;
  uint32_t watched;
  bool ended;    // it has sent all
  Kept kept;     // for it
  int pipe[2];   // on the way to it
  size_t piped;  // bytes in there
  bool dead;     // freed after this turn
} Side;

static bool splices;
static struct sockaddr_in upstream = {.sin_family = AF_INET};
static Side* dead[2 * eventsPerWait];
static int deadCount;

static void watch(Side* side) {
  bool blocked = side->kept.bytes != NULL || side->piped > 0;
  bool mayRead = !side->ended && side->other->kept.bytes == NULL && side->other->piped == 0;
  uint32_t interest = (mayRead ? EPOLLIN : 0u) | (blocked ? EPOLLOUT : 0u);
  if (interest == side->watched) return;
  side->watched = interest;
  pollFor(side->fd, EPOLL_CTL_MOD, interest, side);
}

static void closeBoth(Side* side) {
  for (int i = 0; i < 2; i++, side = side->other) {
    if (side->dead) continue;
    side->dead = true;
    dead[deadCount++] = side;
    close(side->fd);
    if (splices) close(side->pipe[0]), close(side->pipe[1]);
    forget(&side->kept);
  }
}

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
  keep(&to->kept, buffer + sent, (size_t)(received - sent));
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
    Kept* kept = &to->kept;
    ssize_t sent = send(to->fd, kept->bytes + kept->sent, kept->size - kept->sent, MSG_NOSIGNAL);
    if (sent < 0 && !wouldBlock()) return closeBoth(to);
    if (sent > 0) kept->sent += (size_t)sent;
    if (kept->sent < kept->size) return;
    forget(kept);
  }
  watch(to);
  watch(to->other);
}

static Side* newSide(int fd) {
  Side* side = zeroed(sizeof *side);
  side->fd = fd;
  side->watched = EPOLLIN;
  if (splices && pipe2(side->pipe, O_NONBLOCK | O_CLOEXEC) != 0) failed("pipe2");
  if (splices) fcntl(side->pipe[0], F_SETPIPE_SZ, (int)bufferSize);
  return side;
}

static void accepted(int fd) {
  int out = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (out < 0) failed("socket");
  if (connect(out, (struct sockaddr*)&upstream, sizeof upstream) != 0 && errno != EINPROGRESS) failed("connect");
  sendWithoutDelay(out);
  Side *client = newSide(fd), *server = newSide(out);
  client->other = server;
  server->other = client;
  pollFor(fd, EPOLL_CTL_ADD, EPOLLIN, client);
  pollFor(out, EPOLL_CTL_ADD, EPOLLIN, server);
}

static void ready(void* target, uint32_t events) {
  Side* side = target;
  if (!side->dead && (events & EPOLLOUT) != 0) drain(side);
  if (side->dead || (events & ~(uint32_t)EPOLLOUT) == 0 || (side->watched & EPOLLIN) == 0) return;
  if (splices) relaySpliced(side);
  else relayBuffered(side);
}

static void freeDead(void) {
  while (deadCount > 0) free(dead[--deadCount]);
}

int main(int argc, char** argv) {
  splices = strcmp(textOption(argc, argv, "via", "buffer"), "splice") == 0;
  upstream.sin_port = htons((uint16_t)numberOption(argc, argv, "upstream", 0));
  upstream.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  serve(argc, argv, 64 * 1024, accepted, ready, freeDead);
}
