#include "binding/tls_keylog.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>

namespace sluice {

namespace {

class FileSink final : public TlsKeylogSink {
 public:
  explicit FileSink(int fd) : fd_(fd) {}
  ~FileSink() override { close(fd_); }

  void line(std::string_view text) override {
    std::string whole(text);
    whole += '\n';
    // O_APPEND keeps lines whole. A full disk loses lines of a debugging aid, and must not fail connections.
    [[maybe_unused]] const ssize_t written = write(fd_, whole.data(), whole.size());
  }

 private:
  const int fd_;
};

// Node frees the thread-safe function when its environment ends, whoever still holds it; the mutex and the finalizer
// see to it that nobody calls it then.
struct Calls {
  std::mutex mutex;
  Napi::ThreadSafeFunction function;
  bool ended = false;
};

class FunctionSink final : public TlsKeylogSink {
 public:
  explicit FunctionSink(std::shared_ptr<Calls> calls) : calls_(std::move(calls)) {}
  ~FunctionSink() override {
    const std::lock_guard lock(calls_->mutex);
    if (!calls_->ended) calls_->function.Release();
    calls_->ended = true;
  }

  void line(std::string_view text) override {
    const std::lock_guard lock(calls_->mutex);
    if (calls_->ended) return;
    auto* copy = new std::string(text);
    const auto deliver = [](Napi::Env env, Napi::Function callback, std::string* line) {
      const std::unique_ptr<std::string> owned(line);
      if (env != nullptr && !callback.IsEmpty()) callback.Call({Napi::String::New(env, *owned)});
    };
    if (calls_->function.NonBlockingCall(copy, deliver) != napi_ok) {
      delete copy;
      calls_->ended = true;  // it is closing
    }
  }

 private:
  const std::shared_ptr<Calls> calls_;
};

}  // namespace

TlsResult<std::shared_ptr<TlsKeylogSink>> keylogToFile(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    TlsError error;
    error.failure = TlsFailure::invalidOption;
    error.stage = TlsStage::options;
    error.option = "keylog";
    error.text = "the key log \"" + path + "\" cannot be written: " + std::strerror(errno);
    return error;
  }
  return std::shared_ptr<TlsKeylogSink>(std::make_shared<FileSink>(fd));
}

std::shared_ptr<TlsKeylogSink> keylogToFunction(const Napi::Function& callback) {
  auto calls = std::make_shared<Calls>();
  auto* kept = new std::shared_ptr<Calls>(calls);
  const auto finalize = [](Napi::Env, std::shared_ptr<Calls>* owned) {
    {
      const std::lock_guard lock((*owned)->mutex);
      (*owned)->ended = true;
    }
    delete owned;
  };
  calls->function = Napi::ThreadSafeFunction::New(callback.Env(), callback, "sluice.keylog", 0, 1, finalize, kept);
  calls->function.Unref(callback.Env());
  return std::make_shared<FunctionSink>(calls);
}

}  // namespace sluice
