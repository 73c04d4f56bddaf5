#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "handshake/opening_step.h"
#include "rules/rule_facts.h"
#include "rules/rule_list.h"

namespace sluice {

/// The list in force, which may be exchanged for another while connections are asked. Any thread.
class RuleListInForce {
 public:
  explicit RuleListInForce(std::shared_ptr<const RuleList> list) { set(std::move(list)); }

  std::shared_ptr<const RuleList> get() const {
    const std::lock_guard lock(mutex_);
    return list_;
  }
  void set(std::shared_ptr<const RuleList> list) {
    uint8_t asked = 0;
    for (int stage = 0; stage < ruleStages; stage++) {
      if (list->needs().stage[stage]) asked |= static_cast<uint8_t>(1 << stage);
    }
    const std::lock_guard lock(mutex_);
    list_ = std::move(list);
    asked_.store(asked, std::memory_order_relaxed);
  }
  /// Whether it has rules of that stage.
  bool asks(RuleStage stage) const {
    return (asked_.load(std::memory_order_relaxed) >> static_cast<int>(stage) & 1) != 0;
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const RuleList> list_;
  std::atomic<uint8_t> asked_{0};  // stages, as bits
};

namespace opening_steps {

/// Asks the rules of one stage. Those of the session and content stages go behind TLS.
std::unique_ptr<OpeningStepKind> rules(RuleStage stage, std::shared_ptr<const RuleListInForce> list);

}  // namespace opening_steps
}  // namespace sluice
