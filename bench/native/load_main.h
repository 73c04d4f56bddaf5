/// The load generator's main(), over the transport included before.
#pragma once

#include <signal.h>
#include <sys/syscall.h>

#include "load_modes.h"

static uint64_t limitSeconds;

static void outOfTime(int signal) {
  (void)signal;
  static const char text[] = "{\"error\":\"out of time: the server stopped answering\"}\n";
  ssize_t ignored = write(STDOUT_FILENO, text, sizeof text - 1);
  (void)ignored;
  _exit(1);
}

static uint64_t secondsOption(int argc, char** argv, const char* name, double otherwise) {
  return (uint64_t)(numberOption(argc, argv, name, otherwise) * 1e9);
}

static void readSettings(int argc, char** argv) {
  settings.port = (uint16_t)numberOption(argc, argv, "port", 0);
  settings.server = (pid_t)numberOption(argc, argv, "server", 0);
  settings.connections = (uint32_t)numberOption(argc, argv, "connections", 64);
  settings.bytes = (uint32_t)numberOption(argc, argv, "bytes", 64);
  settings.depth = (uint32_t)numberOption(argc, argv, "depth", 1);
  settings.preface = strcmp(textOption(argc, argv, "preface", ""), "proxy") == 0;
  settings.warmup = secondsOption(argc, argv, "warmup", 0.3);
  settings.duration = secondsOption(argc, argv, "seconds", 1);
  limitSeconds = (uint64_t)numberOption(argc, argv, "limit", 30);
  if (settings.port == 0 || settings.connections == 0 || settings.bytes == 0 || settings.depth == 0 ||
      limitSeconds == 0) {
    fprintf(stderr, "load: --port, --connections, --bytes, --depth and --limit must be at least 1\n");
    exit(2);
  }
}

static void prepareConnections(void) {
  connections = calloc(settings.connections, sizeof *connections);
  uint64_t* stamps = calloc((size_t)settings.connections * settings.depth, sizeof *stamps);
  if (connections == NULL || stamps == NULL) failLoad("out of memory");
  for (uint32_t i = 0; i < settings.connections; i++)
    connections[i] = (Connection){
        .fd = -1, .number = i, .start = patternStart(i), .stamps = stamps + (size_t)i * settings.depth};
}

static int describeMachine(void) {
  enum { calls = 200000 };
  uint64_t begun = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  for (int i = 0; i < calls; i++) syscall(SYS_getppid);
  printf("%.1f\n", (double)(nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - begun) / calls);
  return 0;
}

int main(int argc, char** argv) {
  if (strcmp(textOption(argc, argv, "mode", "echo"), "machine") == 0) return describeMachine();
  readSettings(argc, argv);
  const char* mode = textOption(argc, argv, "mode", "echo");
  signal(SIGALRM, outOfTime);
  alarm((unsigned)limitSeconds);
  patternPrepare();
  chargenPrepare();
  prepareConnections();
  transportPrepare(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  poller = epoll_create1(EPOLL_CLOEXEC);

  if (strcmp(mode, "echo") == 0) runEcho();
  else if (strcmp(mode, "connect") == 0) runConnect();
  else if (strcmp(mode, "sink") == 0) runSink();
  else if (strcmp(mode, "source") == 0) runSource();
  else if (strcmp(mode, "idle") == 0) runIdle();
  else {
    fprintf(stderr, "--mode: '%s' is none of echo, connect, sink, source, idle\n", mode);
    return 2;
  }
  return 0;
}
