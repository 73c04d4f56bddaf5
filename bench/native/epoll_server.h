/// What every C server on epoll here has in common: one level-triggered poller, one shared receive buffer, the loop that
/// accepts and waits. Each program is one server, so all of it is static and compiled into its place.
#pragma once

#include <stdbool.h>
#include <sys/epoll.h>

#include "service.h"

enum { eventsPerWait = 1024, acceptsPerTurn = 64 };

static int poller;
static uint8_t* buffer;
static size_t bufferSize;

/// Bytes that were not taken, and wait; nothing more is read from that peer until they are gone.
typedef struct {
  uint8_t* bytes;  // owned; NULL when there are none
  size_t size, sent;
} Kept;

/// Keeps a copy of `size` bytes.
static inline void keep(Kept* kept, const uint8_t* bytes, size_t size) {
  kept->bytes = malloc(size);
  if (kept->bytes == NULL) failed("malloc");
  memcpy(kept->bytes, bytes, size);
  kept->size = size;
  kept->sent = 0;
}

static inline void forget(Kept* kept) {
  free(kept->bytes);
  kept->bytes = NULL;
}

static inline void pollFor(int fd, int operation, uint32_t interest, void* target) {
  struct epoll_event event = {.events = interest, .data.ptr = target};
  if (epoll_ctl(poller, operation, fd, &event) != 0) failed("epoll_ctl");
}

/// Whether a call that has failed is to be made again later.
static inline bool wouldBlock(void) { return errno == EAGAIN || errno == EINTR; }

/// Zeroed memory.
static inline void* zeroed(size_t size) {
  void* memory = calloc(1, size);
  if (memory == NULL) failed("calloc");
  return memory;
}

/// Serves for ever: `accepted` for each new connection, `ready` for each event of what was given to pollFor(), and
/// `turnOver`, unless NULL, after all events of a turn.
static inline void serve(int argc, char** argv, size_t defaultBufferSize, void (*accepted)(int fd),
                         void (*ready)(void* target, uint32_t events), void (*turnOver)(void)) {
  bufferSize = (size_t)numberOption(argc, argv, "buffer", (double)defaultBufferSize);
  buffer = malloc(bufferSize);
  poller = epoll_create1(EPOLL_CLOEXEC);
  const int listener = listenAndAnnounce(argc, argv, SOCK_NONBLOCK);
  pollFor(listener, EPOLL_CTL_ADD, EPOLLIN, NULL);

  struct epoll_event events[eventsPerWait];
  for (;;) {
    const int count = epoll_wait(poller, events, eventsPerWait, -1);
    if (count < 0 && errno != EINTR) failed("epoll_wait");
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr != NULL) {
        ready(events[i].data.ptr, events[i].events);
        continue;
      }
      for (int k = 0; k < acceptsPerTurn; k++) {
        const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) break;
        sendWithoutDelay(fd);
        accepted(fd);
      }
    }
    if (turnOver != NULL) turnOver();
  }
}
