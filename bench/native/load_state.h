/// What all modes of the load generator share: its settings, its connections, its clock and its one way to fail.
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "chargen.h"
#include "cpu_clock.h"
#include "histogram.h"
#include "options.h"
#include "pattern.h"

enum {
  eventsPerWait = 1024,
  receiveSize = 256 * 1024,
  openAtOnce = 128,        // connections being opened at a time: fewer than any server's accept queue
  portsPerSource = 20000,  // connections from one loopback address before the next one is used
};

typedef struct {
  uint16_t port;
  pid_t server;  // whose CPU time is measured; 0 for nobody's
  uint32_t connections, bytes, depth;
  bool preface;               // connections begin with a PROXY header, which does not come back
  uint64_t warmup, duration;  // ns
} Settings;

typedef struct {
  int fd;
  uint32_t number, start;        // start: where its pattern begins
  uint64_t due, sent, received;  // bytes: to be sent by now, taken by the kernel, come back and found right
  uint32_t interest;
  uint64_t begun;    // connect mode: when this connection was begun
  uint64_t* stamps;  // echo mode: when each message under way was sent, by number modulo depth
  struct ssl_st* tls;
  struct ssl_session_st* session;  // to be resumed next
  bool mayResume;
  bool blocked;  // the transport took less than it was given, and wants the same again
  bool saidEnd;  // sink mode: to the server
} Connection;

/// Time and counts between two moments, the part that is reported.
typedef struct {
  uint64_t began, ended;                // ns
  uint64_t serverCpu, serverSchedstat;  // ns
  uint64_t ownCpu;                      // ns
  uint64_t messages, bytes;
  Histogram latency;  // ns
} Measurement;

static Settings settings;
static Connection* connections;
static Measurement measured;
static bool measuring;
static int poller;
static uint8_t received[receiveSize];

/// Prints {"error":…} and ends the program: a wrong byte or a lost connection makes every figure worthless.
__attribute__((format(printf, 1, 2), noreturn)) static void failLoad(const char* format, ...) {
  char text[300];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  printf("{\"error\":\"%s\"}\n", text);
  fflush(stdout);
  _exit(1);
}

static inline void watch(Connection* connection, uint32_t interest) {
  if (interest == connection->interest) return;
  struct epoll_event event = {.events = interest, .data.ptr = connection};
  int operation = connection->interest == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  if (epoll_ctl(poller, operation, connection->fd, &event) != 0) failLoad("epoll_ctl: %s", strerror(errno));
  connection->interest = interest;
}

static void readCpu(uint64_t* exact, uint64_t* schedstat, uint64_t* own) {
  *exact = settings.server > 0 ? cpuTimeOf(settings.server) : 0;
  *schedstat = settings.server > 0 ? schedstatOf(settings.server) : 0;
  *own = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
}

static void beginMeasuring(void) {
  memset(&measured, 0, sizeof measured);
  readCpu(&measured.serverCpu, &measured.serverSchedstat, &measured.ownCpu);
  measured.began = now();
  measuring = true;
}

static void endMeasuring(void) {
  uint64_t cpu, schedstat, own;
  measured.ended = now();
  readCpu(&cpu, &schedstat, &own);
  measured.serverCpu = cpu - measured.serverCpu;
  measured.serverSchedstat = schedstat - measured.serverSchedstat;
  measured.ownCpu = own - measured.ownCpu;
  measuring = false;
}

/// Walks through warm-up and measuring as time goes by. False once the measuring is over.
static bool stillRunning(uint64_t begun) {
  if (!measuring && now() - begun >= settings.warmup) beginMeasuring();
  if (!measuring || now() - measured.began < settings.duration) return true;
  endMeasuring();
  return false;
}

static void report(void) {
  const Histogram* latency = &measured.latency;
  printf(
      "{\"seconds\":%.6f,\"messages\":%llu,\"bytes\":%llu,\"serverCpuNs\":%llu,\"serverSchedstatNs\":%llu,"
      "\"loadCpuNs\":%llu",
      (double)(measured.ended - measured.began) / 1e9, (unsigned long long)measured.messages,
      (unsigned long long)measured.bytes, (unsigned long long)measured.serverCpu,
      (unsigned long long)measured.serverSchedstat, (unsigned long long)measured.ownCpu);
  if (latency->total > 0)
    printf(",\"latencyUs\":{\"mean\":%.2f,\"p50\":%.2f,\"p90\":%.2f,\"p99\":%.2f,\"p999\":%.2f,\"max\":%.2f}",
           (double)latency->sum / (double)latency->total / 1e3, histogramPercentile(latency, .5) / 1e3,
           histogramPercentile(latency, .9) / 1e3, histogramPercentile(latency, .99) / 1e3,
           histogramPercentile(latency, .999) / 1e3, (double)latency->largest / 1e3);
  printf("}\n");
  fflush(stdout);
}
