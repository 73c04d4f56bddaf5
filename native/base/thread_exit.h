#pragma once

namespace sluice {

/// Who runs threads that use libraries of the process, such as OpenSSL, signs up here. exit() stops them, before these
/// libraries clean up after themselves: they do so in exit(), whatever other threads are doing.
class ThreadExit {
 public:
  /// `stop(context)` has to end the threads and wait for them. It is called once, on the thread that calls exit(),
  /// unless remove() came before. Any thread.
  static void add(void* context, void (*stop)(void* context));
  static void remove(void* context);
};

}  // namespace sluice
