#pragma once

// kqueue for Linux, as much of it as the kqueue poller needs, so that it is tested where kqueue does not exist.
// Names, numbers and layout are those of macOS.

#include <stdint.h>
#include <time.h>

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EVFILT_USER (-10)

#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ENABLE 0x0004
#define EV_DISABLE 0x0008
#define EV_ONESHOT 0x0010
#define EV_CLEAR 0x0020
#define EV_RECEIPT 0x0040
#define EV_EOF 0x8000
#define EV_ERROR 0x4000

#define NOTE_TRIGGER 0x01000000

struct kevent {
  uintptr_t ident;
  int16_t filter;
  uint16_t flags;
  uint32_t fflags;
  intptr_t data;
  void* udata;
};

#define EV_SET(event, a, b, c, d, e, f) \
  do {                                  \
    struct kevent* set_ = (event);      \
    set_->ident = (a);                  \
    set_->filter = (b);                 \
    set_->flags = (c);                  \
    set_->fflags = (d);                 \
    set_->data = (e);                   \
    set_->udata = (f);                  \
  } while (0)

extern "C" {

/// A descriptor that poll, epoll and libuv find readable while kevent() would return an event, as on BSD. Close it with
/// close(2). Errors: those of epoll_create1(2).
int kqueue(void);

/// kevent(2), thread-safe, with these limits: EVFILT_READ, EVFILT_WRITE and EVFILT_USER; EV_CLEAR is for EVFILT_USER
/// only, which always has it; `data` is the number of bytes to read, or 1; EV_EOF comes without the socket's error in
/// `fflags`. As on macOS and FreeBSD, a call that has errors or receipts to tell returns those and no events.
int kevent(int queue, const struct kevent* changes, int changeCount, struct kevent* events, int eventCount,
           const struct timespec* timeout);
}
