#include "binding/descriptors.h"

#include <unistd.h>

#include <string>
#include <vector>

#include "binding/values.h"
#include "net/descriptor_passing.h"

namespace sluice::descriptors {

namespace {

Napi::Value pass(const Napi::CallbackInfo& info) {
  const auto list = info[1].As<Napi::Array>();
  std::vector<int> fds;
  for (uint32_t i = 0; i < list.Length(); i++) fds.push_back(list.Get(i).As<Napi::Number>().Int32Value());
  const auto passed =
      passDescriptors(info[0].As<Napi::Number>().Int32Value(), fds, info[2].As<Napi::String>().Utf8Value());
  return passed ? info.Env().Undefined() : values::failure(info.Env(), passed.error());
}

Napi::Value take(const Napi::CallbackInfo& info) {
  const auto where = SocketAddress::unixPath(info[0].As<Napi::String>().Utf8Value());
  if (!where) return values::failure(info.Env(), where.error());
  auto taken = takeDescriptors(*where, info[1].As<Napi::Number>().Int32Value());
  if (!taken) return values::failure(info.Env(), taken.error());
  auto list = Napi::Array::New(info.Env());
  for (const int fd : taken->descriptors) list.Set(list.Length(), fd);
  auto result = Napi::Object::New(info.Env());
  result.Set("socket", taken->socket);
  result.Set("descriptors", list);
  result.Set("text", taken->text);
  return result;
}

void close(const Napi::CallbackInfo& info) { ::close(info[0].As<Napi::Number>().Int32Value()); }

}  // namespace

void exportTo(Napi::Env env, Napi::Object exports) {
  exports.Set("passDescriptors", Napi::Function::New(env, pass));
  exports.Set("takeDescriptors", Napi::Function::New(env, take));
  exports.Set("closeDescriptor", Napi::Function::New(env, close));
}

}  // namespace sluice::descriptors
