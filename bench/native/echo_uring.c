/// echo_uring [--service echo|discard|chargen] [--port N] [--buffer bytes] [--buffers N]
///
/// The other limit: an echo server in C on io_uring. Multishot accept and receive, provided buffers used up piece
/// by piece, all sends of a turn handed over in the system call that waits for the next. A connection has one send
/// under way at a time, made of all that is queued, and stops receiving while too much is.
#define _GNU_SOURCE
#include "uring.h"

#include <sys/uio.h>

enum { piecesPerSend = 16, highWater = 1 << 20, bufferLimit = 1 << 15 };
enum { tagAccept, tagReceive, tagSend, tagCancel, tagMask = 7 };

typedef struct {
  uint8_t* bytes;
  uint32_t size;
  uint16_t buffer;
} Piece;

typedef struct Connection {
  int fd;
  bool receiving, sending, canceled, starved;
  bool ended, lost;  // ended: the peer finished, what is queued still goes out; lost: nothing more goes anywhere
  Piece* queue;      // owned: received and not yet sent, oldest first
  uint32_t first, count, room, queuedBytes;
  uint64_t generated;  // chargen: bytes sent
  struct msghdr message;
  struct iovec parts[piecesPerSend];
  struct Connection* nextStarved;
} Connection;

static Uring uring;
static BufferRing buffers;
static uint32_t bufferUsed[bufferLimit], bufferReferences[bufferLimit];
static bool bufferFull[bufferLimit];  // the kernel writes no more into it: to be given back with the last reference
static Connection* starvedList;
static Service service;

static uint64_t tagged(Connection* connection, unsigned tag) { return (uint64_t)(uintptr_t)connection | tag; }

static void receiveMore(Connection* connection) {
  if (connection->receiving || connection->ended || connection->lost || connection->starved) return;
  struct io_uring_sqe* entry = nextEntry(&uring, IORING_OP_RECV, connection->fd, tagged(connection, tagReceive));
  entry->flags = IOSQE_BUFFER_SELECT;
  entry->buf_group = bufferGroup;
  entry->ioprio = IORING_RECV_MULTISHOT;
  connection->receiving = true;
  connection->canceled = false;
}

static void stopReceiving(Connection* connection) {
  if (!connection->receiving || connection->canceled) return;
  struct io_uring_sqe* entry = nextEntry(&uring, IORING_OP_ASYNC_CANCEL, -1, tagged(NULL, tagCancel));
  entry->addr = tagged(connection, tagReceive);
  connection->canceled = true;
}

static void letGoOf(uint16_t buffer) {
  if (bufferReferences[buffer] > 0 || !bufferFull[buffer]) return;
  bufferFull[buffer] = false;
  bufferUsed[buffer] = 0;
  provideBuffer(&buffers, buffer);
  Connection* connection = starvedList;
  if (connection == NULL) return;
  starvedList = connection->nextStarved;
  connection->starved = false;
  receiveMore(connection);
}

static void dropPieces(Connection* connection) {
  for (; connection->count > 0; connection->count--) {
    uint16_t buffer = connection->queue[connection->first++].buffer;
    bufferReferences[buffer]--;
    letGoOf(buffer);
  }
}

static void leaveStarvedList(Connection* connection) {
  for (Connection** link = &starvedList; *link != NULL; link = &(*link)->nextStarved) {
    if (*link != connection) continue;
    *link = connection->nextStarved;
    break;
  }
  connection->starved = false;
}

/// Frees the connection once the kernel works for it no more.
static void closeWhenDone(Connection* connection) {
  if (connection->lost) shutdown(connection->fd, SHUT_RDWR);  // completes a receive under way
  if (connection->receiving || connection->sending) return;
  if (connection->count > 0 && !connection->lost) return;
  if (connection->starved) leaveStarvedList(connection);
  dropPieces(connection);
  close(connection->fd);
  free(connection->queue);
  free(connection);
}

static void sendQueued(Connection* connection) {
  if (connection->sending || connection->count == 0) return;
  Piece* pieces = connection->queue + connection->first;
  uint32_t parts = 0;
  for (uint32_t i = 0; i < connection->count; i++) {
    struct iovec* last = &connection->parts[parts - (parts > 0)];
    if (parts > 0 && (uint8_t*)last->iov_base + last->iov_len == pieces[i].bytes) last->iov_len += pieces[i].size;
    else if (parts == piecesPerSend) break;
    else connection->parts[parts++] = (struct iovec){pieces[i].bytes, pieces[i].size};
  }
  struct io_uring_sqe* entry = nextEntry(&uring, parts == 1 ? IORING_OP_SEND : IORING_OP_SENDMSG, connection->fd,
                                         tagged(connection, tagSend));
  entry->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
  if (parts == 1) {
    entry->addr = (uint64_t)(uintptr_t)connection->parts[0].iov_base;
    entry->len = (uint32_t)connection->parts[0].iov_len;
  } else {
    connection->message = (struct msghdr){.msg_iov = connection->parts, .msg_iovlen = parts};
    entry->addr = (uint64_t)(uintptr_t)&connection->message;
    entry->len = 1;
  }
  connection->sending = true;
}

static void enqueue(Connection* connection, Piece piece) {
  if (connection->first + connection->count == connection->room) {
    if (connection->first >= 16) {  // move down rather than grow
      memmove(connection->queue, connection->queue + connection->first, connection->count * sizeof(Piece));
    } else {
      connection->room = connection->room == 0 ? 4 : 2 * connection->room;
      connection->queue = realloc(connection->queue, connection->room * sizeof(Piece));
      if (connection->queue == NULL) failed("realloc");
      memmove(connection->queue, connection->queue + connection->first, connection->count * sizeof(Piece));
    }
    connection->first = 0;
  }
  connection->queue[connection->first + connection->count++] = piece;
  connection->queuedBytes += piece.size;
  bufferReferences[piece.buffer]++;
}

static void onReceived(Connection* connection, int result, uint32_t flags) {
  if (!(flags & IORING_CQE_F_MORE)) connection->receiving = false;
  if (result > 0) {
    uint16_t buffer = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
    Piece piece = {bufferAt(&buffers, buffer) + bufferUsed[buffer], (uint32_t)result, buffer};
    bufferUsed[buffer] += (uint32_t)result;
    if (!(flags & CQE_BUFFER_CONTINUES)) bufferFull[buffer] = true;
    if (service == serviceEcho && !connection->lost) enqueue(connection, piece);
    else letGoOf(buffer);
    sendQueued(connection);
    if (connection->queuedBytes >= highWater) stopReceiving(connection);
    else receiveMore(connection);
  } else if (result == -ENOBUFS && !connection->lost) {
    connection->starved = true;
    connection->nextStarved = starvedList;
    starvedList = connection;
  } else if (result == -ECANCELED && connection->canceled) {
    if (connection->queuedBytes < highWater) receiveMore(connection);
  } else {
    connection->ended = true;
    if (result < 0 || service == serviceChargen) connection->lost = true;
  }
  if (connection->ended || connection->lost) closeWhenDone(connection);
}

static void generate(Connection* connection) {
  struct io_uring_sqe* entry = nextEntry(&uring, IORING_OP_SEND, connection->fd, tagged(connection, tagSend));
  entry->addr = (uint64_t)(uintptr_t)(chargenText + connection->generated % chargenPeriod);
  entry->len = chargenChunk;
  entry->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
  connection->sending = true;
}

static void onSent(Connection* connection, int result) {
  connection->sending = false;
  if (result < 0) connection->lost = true;
  if (service == serviceChargen && !connection->ended && !connection->lost) {
    connection->generated += (uint64_t)result;
    return generate(connection);
  }
  for (uint32_t left = result > 0 ? (uint32_t)result : 0; left > 0 && connection->count > 0;) {
    Piece* piece = &connection->queue[connection->first];
    uint32_t gone = left < piece->size ? left : piece->size;
    piece->bytes += gone, piece->size -= gone, left -= gone, connection->queuedBytes -= gone;
    if (piece->size > 0) break;
    uint16_t buffer = piece->buffer;
    connection->first++, connection->count--;
    bufferReferences[buffer]--;
    letGoOf(buffer);
  }
  if (connection->count == 0) connection->first = 0;
  if (!connection->lost) sendQueued(connection);
  if (connection->ended || connection->lost) return closeWhenDone(connection);
  if (connection->queuedBytes < highWater) receiveMore(connection);
}

static void acceptMore(int listener) {
  struct io_uring_sqe* entry = nextEntry(&uring, IORING_OP_ACCEPT, listener, tagged(NULL, tagAccept));
  entry->ioprio = IORING_ACCEPT_MULTISHOT;
  entry->accept_flags = SOCK_CLOEXEC;
}

static void onAccepted(int fd) {
  if (fd < 0) return;
  sendWithoutDelay(fd);
  Connection* connection = calloc(1, sizeof *connection);
  if (connection == NULL) failed("calloc");
  connection->fd = fd;
  receiveMore(connection);
  if (service == serviceChargen) generate(connection);
}

int main(int argc, char** argv) {
  service = serviceOption(argc, argv);
  openUring(&uring);
  openBufferRing(&uring, &buffers, (uint32_t)numberOption(argc, argv, "buffers", 64),
                 (uint32_t)numberOption(argc, argv, "buffer", 256 * 1024));
  int listener = listenAndAnnounce(argc, argv, 0);
  acceptMore(listener);

  for (;;) {
    submitAndWait(&uring, 1);
    uint32_t head = *uring.cqHead, tail = __atomic_load_n(uring.cqTail, __ATOMIC_ACQUIRE);
    for (; head != tail; head++) {
      struct io_uring_cqe cqe = uring.cqes[head & uring.cqMask];
      __atomic_store_n(uring.cqHead, head + 1, __ATOMIC_RELEASE);
      Connection* connection = (Connection*)(uintptr_t)(cqe.user_data & ~(uint64_t)tagMask);
      switch (cqe.user_data & tagMask) {
        case tagAccept:
          onAccepted(cqe.res);
          if (!(cqe.flags & IORING_CQE_F_MORE)) acceptMore(listener);
          break;
        case tagReceive: onReceived(connection, cqe.res, cqe.flags); break;
        case tagSend: onSent(connection, cqe.res); break;
        default: break;
      }
    }
  }
}
