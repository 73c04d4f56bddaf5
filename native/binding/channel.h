#pragma once

#include <napi.h>

#include <memory>

#include "binding/batch_caller.h"
#include "binding/driver.h"

namespace sluice {

/// One loop as JavaScript holds it (class Channel in src/native/binding.ts, which says what each method takes and
/// returns), in files by topic: opening, TLS, what a connection is asked. Failures are returned as values, see values::failure().
class Channel final : public Napi::ObjectWrap<Channel> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit Channel(const Napi::CallbackInfo& info);
  ~Channel() override;

 private:
  Napi::Value start(const Napi::CallbackInfo& info);
  Napi::Value flush(const Napi::CallbackInfo& info);
  Napi::Value listen(const Napi::CallbackInfo& info);
  Napi::Value listenerFd(const Napi::CallbackInfo& info);
  Napi::Value connectionFd(const Napi::CallbackInfo& info);
  Napi::Value listenerStats(const Napi::CallbackInfo& info);
  Napi::Value closeListener(const Napi::CallbackInfo& info);
  Napi::Value connect(const Napi::CallbackInfo& info);
  Napi::Value pair(const Napi::CallbackInfo& info);
  Napi::Value adopt(const Napi::CallbackInfo& info);
  Napi::Value startTls(const Napi::CallbackInfo& info);
  Napi::Value tlsInfo(const Napi::CallbackInfo& info);
  Napi::Value tlsExport(const Napi::CallbackInfo& info);
  Napi::Value tlsBinding(const Napi::CallbackInfo& info);
  Napi::Value tlsSession(const Napi::CallbackInfo& info);
  Napi::Value tlsPeerCertificates(const Napi::CallbackInfo& info);
  Napi::Value tlsOwnCertificate(const Napi::CallbackInfo& info);
  Napi::Value tlsOcspResponse(const Napi::CallbackInfo& info);
  Napi::Value setLowWater(const Napi::CallbackInfo& info);
  Napi::Value relay(const Napi::CallbackInfo& info);
  Napi::Value relayNumbers(const Napi::CallbackInfo& info);
  Napi::Value setOperationBounds(const Napi::CallbackInfo& info);
  Napi::Value setTimeouts(const Napi::CallbackInfo& info);
  Napi::Value setRateLimit(const Napi::CallbackInfo& info);
  Napi::Value setRateGroup(const Napi::CallbackInfo& info);
  Napi::Value debitRate(const Napi::CallbackInfo& info);
  Napi::Value rateStanding(const Napi::CallbackInfo& info);
  Napi::Value setOptions(const Napi::CallbackInfo& info);
  Napi::Value tcpInfo(const Napi::CallbackInfo& info);
  Napi::Value endpoints(const Napi::CallbackInfo& info);
  Napi::Value proxyHeader(const Napi::CallbackInfo& info);
  Napi::Value ruleMarks(const Napi::CallbackInfo& info);
  Napi::Value connectionStats(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  Napi::Value nowMs(const Napi::CallbackInfo& info);
  Napi::Value destroyAll(const Napi::CallbackInfo& info);
  Napi::Value reference(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  static void onEnvironmentExit(napi_async_cleanup_hook_handle handle, void* data);
  void shutDown(bool environmentLeaves);
  template <class Task>
  void onLoop(Task task) {
    if (!driver_) return;
    // What was staged before comes first, e.g. the end of a connection whose numbers are asked for.
    driver_->flush();
    driver_->call(task);
  }
  template <class Task>
  void onSession(const Napi::CallbackInfo& info, Task task);
  Napi::Value handle(Napi::Env env, const Result<Slot>& slot, uint32_t generation);

  std::unique_ptr<BatchCaller> caller_;
  std::unique_ptr<Driver> driver_;
  std::string engineName_;
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
};

}  // namespace sluice
