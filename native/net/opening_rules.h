#pragma once

#include <memory>
#include <mutex>

#include "handshake/opening_step.h"
#include "rules/rule_facts.h"
#include "rules/rule_list.h"

namespace sluice {

/// The list in force, which may be exchanged for another while connections are asked. Any thread.
class RuleListInForce {
 public:
  explicit RuleListInForce(std::shared_ptr<const RuleList> list) : list_(std::move(list)) {}

  std::shared_ptr<const RuleList> get() const {
    const std::lock_guard lock(mutex_);
    return list_;
  }
  void set(std::shared_ptr<const RuleList> list) {
    const std::lock_guard lock(mutex_);
    list_ = std::move(list);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const RuleList> list_;
};

namespace opening_steps {

/// Asks the rules of one stage. Those of the session and content stages go behind TLS.
std::unique_ptr<OpeningStepKind> rules(RuleStage stage, std::shared_ptr<const RuleListInForce> list);

}  // namespace opening_steps
}  // namespace sluice
