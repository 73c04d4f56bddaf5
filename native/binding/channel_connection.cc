// What is asked of a connection, changed in it, and told of it.
#include "binding/channel.h"
#include "binding/channel_target.h"
#include "binding/opening_values.h"
#include "binding/proxy_values.h"
#include "binding/rate_limits.h"
#include "binding/values.h"

namespace sluice {

Napi::Value Channel::setLowWater(const Napi::CallbackInfo& info) {
  const Target target(info);
  const auto bytes = info[2].As<Napi::Number>().Uint32Value();
  onLoop([&](Network& network, Loop&) {
    if (Connection* connection = target.in(network)) network.setLowWater(target.slot, *connection, bytes);
  });
  return info.Env().Undefined();
}

// (two connections by slot and tag; per connection what may wait for it, and when there is room again; two timeouts): the
// relay's number.
Napi::Value Channel::relay(const Napi::CallbackInfo& info) {
  const Target first(info), second(info, 2);
  const auto number = [&info](size_t index) { return info[index].As<Napi::Number>().Uint32Value(); };
  const RelayBounds bounds{.highWaterBytes = {number(4), number(6)},
                           .lowWaterBytes = {number(5), number(7)},
                           .tunnelTimeoutMs = number(8),
                           .finTimeoutMs = number(9)};
  Result<uint32_t> id = channelClosed;
  onLoop([&](Network& network, Loop&) {
    if (first.in(network) == nullptr || second.in(network) == nullptr) return;
    id = network.relay(first.slot, second.slot, bounds);
  });
  if (!id) return values::failure(info.Env(), id.error());
  return Napi::Number::New(info.Env(), *id);
}

Napi::Value Channel::relayNumbers(const Napi::CallbackInfo& info) {
  const auto id = info[0].As<Napi::Number>().Uint32Value();
  bool found = false;
  RelayNumbers numbers;
  onLoop([&](Network& network, Loop&) { found = network.relayNumbers(id, numbers); });
  if (!found) return info.Env().Undefined();
  auto result = Napi::Array::New(info.Env());
  for (uint32_t side = 0; side < 2; side++) { result.Set(side, static_cast<double>(numbers.bytes[side])); }
  return result;
}

Napi::Value Channel::setOperationBounds(const Napi::CallbackInfo& info) {
  const Target target(info);
  const OperationBounds bounds{info[2].As<Napi::Number>().Uint32Value(), info[3].As<Napi::Number>().Uint32Value()};
  onLoop([&](Network& network, Loop&) {
    if (Connection* connection = target.in(network)) network.setOperationBounds(target.slot, *connection, bounds);
  });
  return info.Env().Undefined();
}

Napi::Value Channel::setTimeouts(const Napi::CallbackInfo& info) {
  const Target target(info);
  const auto ms = [&info](size_t index) { return info[index].As<Napi::Number>().Uint32Value(); };
  onLoop([&](Network& network, Loop&) {
    if (Connection* connection = target.in(network))
      network.setTimeouts(target.slot, *connection, ms(2), ms(3), ms(4));
  });
  return info.Env().Undefined();
}

Napi::Value Channel::setRateLimit(const Napi::CallbackInfo& info) {
  const Target target(info);
  const auto limit = rate_limits::readOwnLimit(info[2]);
  onLoop([&](Network& network, Loop&) {
    if (Connection* connection = target.in(network)) network.setRateLimit(target.slot, *connection, limit);
  });
  return info.Env().Undefined();
}

Napi::Value Channel::setRateGroup(const Napi::CallbackInfo& info) {
  const Target target(info);
  const auto group = rate_limits::readGroup(info[2]);
  onLoop([&](Network& network, Loop&) {
    if (Connection* connection = target.in(network)) network.setRateGroup(target.slot, *connection, group);
  });
  return info.Env().Undefined();
}

Napi::Value Channel::debitRate(const Napi::CallbackInfo& info) {
  const Target target(info);
  const Direction direction = rate_limits::readDirection(info[2]);
  const int64_t bytes = info[3].As<Napi::Number>().Int64Value();
  bool done = false;
  onLoop([&](Network& network, Loop&) {
    if (Connection* connection = target.in(network)) {
      done = network.debitRate(target.slot, *connection, direction, bytes);
    }
  });
  return Napi::Boolean::New(info.Env(), done);
}

Napi::Value Channel::rateStanding(const Napi::CallbackInfo& info) {
  const Target target(info);
  bool found = false;
  RateStanding standing;
  onLoop([&](Network& network, Loop&) {
    if (Connection* connection = target.in(network)) {
      found = true;
      standing = network.rateStanding(*connection);
    }
  });
  return found ? rate_limits::standing(info.Env(), standing) : info.Env().Undefined();
}

Napi::Value Channel::setOptions(const Napi::CallbackInfo& info) {
  const Target target(info);
  const auto options = values::socketOptions(info[2].As<Napi::Object>(), "options");
  Result<void> result = channelClosed;
  onLoop([&](Network& network, Loop& loop) {
    const Connection* connection = target.in(network);
    if (connection == nullptr) return;
    if (connection->local) {
      result = Network::noSocket;
      return;
    }
    result = Result<void>();
    for (const SocketOptionValue& option : options) {
      result = loop.engine().setOption(target.slot, option);
      if (!result) return;
    }
  });
  return result ? info.Env().Undefined() : values::failure(info.Env(), result.error());
}

Napi::Value Channel::connectionFd(const Napi::CallbackInfo& info) {
  const Target target(info);
  int fd = -1;
  onLoop([&](Network& network, Loop& loop) {
    const Connection* connection = target.in(network);
    if (connection != nullptr && !connection->local) fd = loop.engine().fd(target.slot);
  });
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value Channel::tcpInfo(const Napi::CallbackInfo& info) {
  const Target target(info);
  Result<TcpInfo> result = channelClosed;
  onLoop([&](Network& network, Loop& loop) {
    const Connection* connection = target.in(network);
    if (connection == nullptr) return;
    if (connection->local) result = Network::noSocket;
    else result = loop.engine().tcpInfo(target.slot);
  });
  return result ? values::tcpInfo(info.Env(), *result) : values::failure(info.Env(), result.error());
}

Napi::Value Channel::endpoints(const Napi::CallbackInfo& info) {
  const Target target(info);
  Result<SocketAddress> local = channelClosed, remote = channelClosed;
  onLoop([&](Network& network, Loop& loop) {
    const Connection* connection = target.in(network);
    if (connection == nullptr || connection->local) return;
    local = loop.engine().localAddress(target.slot);
    remote = loop.engine().peerAddress(target.slot);
  });
  auto result = Napi::Object::New(info.Env());
  if (local) result.Set("local", values::address(info.Env(), *local));
  if (remote) result.Set("remote", values::address(info.Env(), *remote));
  return result;
}

Napi::Value Channel::proxyHeader(const Napi::CallbackInfo& info) {
  const Target target(info);
  std::optional<ProxyHeader> header;
  onLoop([&](Network& network, Loop&) {
    const Connection* connection = network.find(target.slot, target.tag);
    if (connection == nullptr || !connection->opening || connection->opening->claimed() == nullptr) return;
    header = *connection->opening->claimed();
  });
  return header ? values::proxyHeader(info.Env(), *header) : info.Env().Undefined();
}

Napi::Value Channel::ruleMarks(const Napi::CallbackInfo& info) {
  const Target target(info);
  bool found = false;
  std::vector<std::string> tags;
  std::vector<std::pair<std::string, std::string>> variables;
  onLoop([&](Network& network, Loop&) {
    const Connection* connection = network.find(target.slot, target.tag);
    if (connection == nullptr || !connection->opening || !connection->opening->marks) return;
    found = true;
    tags = connection->opening->marks->tags();
    variables = connection->opening->marks->variables();
  });
  return found ? values::ruleMarks(info.Env(), tags, variables) : info.Env().Undefined();
}

Napi::Value Channel::connectionStats(const Napi::CallbackInfo& info) {
  const Target target(info);
  uint64_t bytesRead = 0, bytesWritten = 0, queued = 0;
  onLoop([&](Network& network, Loop&) {
    if (const Connection* connection = network.find(target.slot, target.tag)) {
      bytesRead = connection->bytesRead;
      bytesWritten = connection->bytesWritten;
      queued = Network::unsentBytes(*connection);
    }
  });
  auto result = Napi::Object::New(info.Env());
  result.Set("bytesRead", static_cast<double>(bytesRead));
  result.Set("bytesWritten", static_cast<double>(bytesWritten));
  result.Set("queuedBytes", static_cast<double>(queued));
  return result;
}

}  // namespace sluice
