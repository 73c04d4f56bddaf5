/// What every C server here has in common: its listening socket, its announcement, its three services.
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "chargen.h"
#include "options.h"

typedef enum { serviceEcho, serviceDiscard, serviceChargen } Service;

static inline void failed(const char* what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static inline Service serviceOption(int argc, char** argv) {
  const char* name = textOption(argc, argv, "service", "echo");
  if (strcmp(name, "echo") == 0) return serviceEcho;
  if (strcmp(name, "discard") == 0) return serviceDiscard;
  if (strcmp(name, "chargen") == 0) return serviceChargen;
  fprintf(stderr, "--service: '%s' is none of echo, discard, chargen\n", name);
  exit(2);
}

/// A listening socket on 127.0.0.1, announced on stdout as {"port":…,"pid":…}.
static inline int listenAndAnnounce(int argc, char** argv, int flags) {
  signal(SIGPIPE, SIG_IGN);
  chargenPrepare();
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), yes = 1;
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t size = sizeof address;
  address.sin_port = htons((uint16_t)numberOption(argc, argv, "port", 0));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (listener < 0) failed("socket");
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener, (struct sockaddr*)&address, size) != 0) failed("bind");
  if (listen(listener, 4096) != 0) failed("listen");
  getsockname(listener, (struct sockaddr*)&address, &size);
  printf("{\"port\":%u,\"pid\":%d}\n", ntohs(address.sin_port), getpid());
  fflush(stdout);
  return listener;
}

static inline void sendWithoutDelay(int connection) {
  int yes = 1;
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}
