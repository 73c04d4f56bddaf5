/// The CPU time of another process, read twice over: exactly, and as /proc shows it, so that one checks the other.
#pragma once

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

static inline uint64_t nanoseconds(clockid_t clock) {
  struct timespec time;
  if (clock_gettime(clock, &time) != 0) return 0;
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static inline uint64_t now(void) { return nanoseconds(CLOCK_MONOTONIC); }

/// All threads of `pid`, past ones too, in nanoseconds: the scheduler's own account, not sampled by ticks.
static inline uint64_t cpuTimeOf(pid_t pid) {
  clockid_t clock;
  return clock_getcpuclockid(pid, &clock) == 0 ? nanoseconds(clock) : 0;
}

/// The same as the sum of /proc/<pid>/task/*/schedstat: living threads only, up to a tick behind.
static inline uint64_t schedstatOf(pid_t pid) {
  char path[300];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR* tasks = opendir(path);
  if (tasks == NULL) return 0;
  uint64_t sum = 0;
  for (struct dirent* entry; (entry = readdir(tasks)) != NULL;) {
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", pid, entry->d_name);
    FILE* file = fopen(path, "r");
    unsigned long long spent;
    if (file == NULL) continue;
    if (fscanf(file, "%llu", &spent) == 1) sum += spent;
    fclose(file);
  }
  closedir(tasks);
  return sum;
}
