/// launch --core N --files N -- program arguments…
///
/// Becomes `program`, pinned to one core, with room for that many descriptors, and killed when its parent ends.
/// The process id stays the same, so whoever started it knows whom to measure. `--core any` leaves it unpinned.
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "options.h"

static void pinTo(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  if (sched_setaffinity(0, sizeof set, &set) == 0) return;
  fprintf(stderr, "launch: cannot pin to core %d: %s\n", core, strerror(errno));
  exit(2);
}

// As many as allowed: the hard limit too where we may raise it. Too few shows later, where they are used up.
static void allowFiles(rlim_t files) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= files) return;
  struct rlimit raised = {files, limit.rlim_max > files ? limit.rlim_max : files};
  if (setrlimit(RLIMIT_NOFILE, &raised) == 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char** argv) {
  int command = 1;
  while (command < argc && strcmp(argv[command], "--") != 0) command++;
  if (command + 1 >= argc) {
    fprintf(stderr, "usage: launch [--core N|any] [--files N] -- program arguments...\n");
    return 2;
  }
  const char* core = textOption(command, argv, "core", "any");
  if (strcmp(core, "any") != 0) pinTo((int)numberOption(command, argv, "core", 0));
  allowFiles((rlim_t)numberOption(command, argv, "files", 1024));
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  execvp(argv[command + 1], argv + command + 1);
  fprintf(stderr, "launch: cannot start %s: %s\n", argv[command + 1], strerror(errno));
  return 127;
}
