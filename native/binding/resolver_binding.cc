#include "binding/resolver_binding.h"

#include "binding/values.h"
#include "net/resolver.h"

namespace sluice {

namespace {

// One for the process: its threads serve every environment. Never destroyed, since a thread may hang in getaddrinfo
// while the process exits.
Resolver& processResolver() {
  static auto* resolver = new Resolver();
  return *resolver;
}

struct Query {
  Napi::ThreadSafeFunction callback;
  Resolver::Id id = 0;
};

void deliver(Napi::Env env, Napi::Function callback, ResolveResult* data) {
  const std::unique_ptr<ResolveResult> result(data);
  if (env == nullptr || callback.IsEmpty()) return;  // the environment is leaving
  if (result->error) {
    auto failure = values::failure(env, result->error);
    failure.Set("detail", result->detail);
    callback.Call({failure, env.Undefined()});
    return;
  }
  auto addresses = Napi::Array::New(env, result->addresses.size());
  for (uint32_t i = 0; i < result->addresses.size(); i++) {
    auto address = Napi::Object::New(env);
    address.Set("address", result->addresses[i].host);
    address.Set("family", static_cast<uint32_t>(result->addresses[i].family));
    addresses.Set(i, address);
  }
  callback.Call({env.Null(), addresses});
}

void finish(Query& query, std::unique_ptr<ResolveResult> result) {
  ResolveResult* data = result.release();
  if (data != nullptr && query.callback.NonBlockingCall(data, deliver) != napi_ok) delete data;
  query.callback.Release();
}

}  // namespace

Napi::Value resolveHost(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  // Shared by the resolver's callback and the cancel function; whoever comes first ends the query.
  auto query = std::make_shared<Query>();
  query->callback = Napi::ThreadSafeFunction::New(env, info[2].As<Napi::Function>(), "sluice.resolve", 0, 1);
  auto* context = new std::shared_ptr<Query>(query);
  query->id = processResolver().resolve(
      info[0].As<Napi::String>().Utf8Value(), static_cast<ResolveFamily>(info[1].As<Napi::Number>().Uint32Value()),
      [](void* raw, std::unique_ptr<ResolveResult> result) {
        const std::unique_ptr<std::shared_ptr<Query>> owned(static_cast<std::shared_ptr<Query>*>(raw));
        finish(**owned, std::move(result));
      },
      context);
  return Napi::Function::New(env, [query, context](const Napi::CallbackInfo& cancel) {
    if (processResolver().cancel(query->id)) {
      finish(*query, nullptr);
      delete context;
    }
    return cancel.Env().Undefined();
  });
}

}  // namespace sluice
