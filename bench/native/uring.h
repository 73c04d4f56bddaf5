/// A thin layer over io_uring's system calls: one ring, one ring of provided buffers, no library.
#pragma once

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "service.h"

// Newer than some headers; the running kernel is asked, not the header.
enum { bufferRingIncremental = 2 };     // IOU_PBUF_RING_INC, Linux 6.12: one buffer serves many receives
#define CQE_BUFFER_CONTINUES (1u << 4)  // IORING_CQE_F_BUF_MORE

enum { uringEntries = 4096, bufferGroup = 0 };

typedef struct {
  int fd;
  uint32_t *sqHead, *sqTail, *cqHead, *cqTail, *sqArray;
  uint32_t sqMask, cqMask;
  uint32_t tail;       // ours: entries filled
  uint32_t submitted;  // of them, handed to the kernel
  struct io_uring_sqe* sqes;
  struct io_uring_cqe* cqes;
} Uring;

typedef struct {
  struct io_uring_buf_ring* ring;
  uint8_t* memory;
  uint32_t count, size;
  uint16_t tail;
} BufferRing;

static inline int enterUring(Uring* uring, uint32_t submit, uint32_t wait) {
  return (int)syscall(__NR_io_uring_enter, uring->fd, submit, wait, wait > 0 ? IORING_ENTER_GETEVENTS : 0, NULL, 0);
}

static inline void openUring(Uring* uring) {
  struct io_uring_params parameters = {
      .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
      .cq_entries = 4 * uringEntries};
  uring->fd = (int)syscall(__NR_io_uring_setup, uringEntries, &parameters);
  if (uring->fd < 0) failed("io_uring_setup");
  size_t sqSize = parameters.sq_off.array + parameters.sq_entries * sizeof(uint32_t);
  size_t cqSize = parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe);
  uint8_t* rings = mmap(NULL, sqSize > cqSize ? sqSize : cqSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                        uring->fd, IORING_OFF_SQ_RING);
  uring->sqes = mmap(NULL, parameters.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_POPULATE, uring->fd, IORING_OFF_SQES);
  if (rings == MAP_FAILED || uring->sqes == MAP_FAILED) failed("mmap");
  uring->sqHead = (uint32_t*)(rings + parameters.sq_off.head);
  uring->sqTail = (uint32_t*)(rings + parameters.sq_off.tail);
  uring->sqArray = (uint32_t*)(rings + parameters.sq_off.array);
  uring->cqHead = (uint32_t*)(rings + parameters.cq_off.head);
  uring->cqTail = (uint32_t*)(rings + parameters.cq_off.tail);
  uring->cqes = (struct io_uring_cqe*)(rings + parameters.cq_off.cqes);
  uring->sqMask = *(uint32_t*)(rings + parameters.sq_off.ring_mask);
  uring->cqMask = *(uint32_t*)(rings + parameters.cq_off.ring_mask);
  for (uint32_t i = 0; i <= uring->sqMask; i++) uring->sqArray[i] = i;
}

/// Hands over all filled entries and waits until at least `wait` completions are there.
static inline void submitAndWait(Uring* uring, uint32_t wait) {
  __atomic_store_n(uring->sqTail, uring->tail, __ATOMIC_RELEASE);
  int taken = enterUring(uring, uring->tail - uring->submitted, wait);
  if (taken >= 0) uring->submitted += (uint32_t)taken;
  else if (errno != EINTR && errno != EAGAIN && errno != EBUSY) failed("io_uring_enter");
}

/// An empty entry to fill. Submits what is there when none is free.
static inline struct io_uring_sqe* nextEntry(Uring* uring, uint8_t operation, int fd, uint64_t userData) {
  while (uring->tail - __atomic_load_n(uring->sqHead, __ATOMIC_ACQUIRE) > uring->sqMask) submitAndWait(uring, 0);
  struct io_uring_sqe* entry = &uring->sqes[uring->tail++ & uring->sqMask];
  memset(entry, 0, sizeof *entry);
  entry->opcode = operation;
  entry->fd = fd;
  entry->user_data = userData;
  return entry;
}

static inline uint8_t* bufferAt(const BufferRing* buffers, uint32_t buffer) {
  return buffers->memory + (size_t)buffer * buffers->size;
}

/// Gives a buffer (back) to the kernel.
static inline void provideBuffer(BufferRing* buffers, uint16_t buffer) {
  struct io_uring_buf* slot = &buffers->ring->bufs[buffers->tail & (buffers->count - 1)];
  slot->addr = (uint64_t)(uintptr_t)bufferAt(buffers, buffer);
  slot->len = buffers->size;
  slot->bid = buffer;
  __atomic_store_n(&buffers->ring->tail, ++buffers->tail, __ATOMIC_RELEASE);
}

/// Registers `count` (a power of two) buffers of `size` bytes, to be used up piece by piece where the kernel can.
static inline void openBufferRing(Uring* uring, BufferRing* buffers, uint32_t count, uint32_t size) {
  buffers->count = count;
  buffers->size = size;
  size_t ringSize = count * sizeof(struct io_uring_buf);
  buffers->ring = mmap(NULL, ringSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  buffers->memory = mmap(NULL, (size_t)count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (buffers->ring == MAP_FAILED || buffers->memory == MAP_FAILED) failed("mmap");
  struct io_uring_buf_reg registration = {
      .ring_addr = (uint64_t)(uintptr_t)buffers->ring, .ring_entries = count, .bgid = bufferGroup};
  // The field behind bgid is `pad` in older headers and `flags` in newer ones.
  uint16_t* flags = &registration.bgid + 1;
  *flags = bufferRingIncremental;
  if (syscall(__NR_io_uring_register, uring->fd, IORING_REGISTER_PBUF_RING, &registration, 1) != 0) {
    *flags = 0;
    if (syscall(__NR_io_uring_register, uring->fd, IORING_REGISTER_PBUF_RING, &registration, 1) != 0)
      failed("io_uring_register");
  }
  for (uint32_t i = 0; i < count; i++) provideBuffer(buffers, (uint16_t)i);
}
