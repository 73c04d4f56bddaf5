#include "binding/gates.h"

namespace sluice {

using SharedGate = std::shared_ptr<AcceptGate>;

Napi::Value createGate(const Napi::CallbackInfo& info) {
  const auto number = [&info](size_t index) { return info[index].As<Napi::Number>().Uint32Value(); };
  auto* gate = new SharedGate(std::make_shared<AcceptGate>(number(0), number(1), number(2)));
  return Napi::External<SharedGate>::New(info.Env(), gate, [](Napi::Env, SharedGate* owned) { delete owned; });
}

std::vector<SharedGate> readGates(const Napi::Value& value) {
  std::vector<SharedGate> gates;
  if (!value.IsArray()) return gates;
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value item = list.Get(i);
    if (item.IsExternal()) gates.push_back(*item.As<Napi::External<SharedGate>>().Data());
  }
  return gates;
}

}  // namespace sluice
