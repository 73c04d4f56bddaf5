/// load --port N [--mode echo|connect|sink|source|idle] [--connections N] [--bytes N] [--depth N]
///      [--warmup seconds] [--seconds seconds] [--limit seconds] [--server pid]
///
/// Loads a server on 127.0.0.1, compares every byte that comes back, and prints one line of JSON: what was done
/// within the measured time, how long each message took, and the CPU time the server used meanwhile. After
/// `--limit` seconds it fails, whatever happens. `load --mode machine` prints the nanoseconds of one system call.
#define _GNU_SOURCE
#include "load_plain.h"

#include "load_main.h"
