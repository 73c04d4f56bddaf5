#include "handshake/op_state.h"

#include <array>

#include "support/test.h"

using namespace sluice;

namespace {
constexpr std::array states{OpState::unwanted, OpState::wanted, OpState::started, OpState::done};
}

TEST("an operation goes from unwanted over wanted and started to done") {
  Operation operation;
  CHECK_EQ(operation.state(), OpState::unwanted);
  operation.moveTo(OpState::wanted);
  operation.moveTo(OpState::started);
  operation.moveTo(OpState::done);
  CHECK_EQ(operation.state(), OpState::done);
}

TEST("three of sixteen jumps between states are legal, all others are rejected") {
  int allowed = 0;
  for (const OpState from : states) {
    for (const OpState to : states) {
      const bool next = (from == OpState::unwanted && to == OpState::wanted) ||
                        (from == OpState::wanted && to == OpState::started) ||
                        (from == OpState::started && to == OpState::done);
      CHECK_EQ(Operation::mayMove(from, to), next);
      if (next) allowed++;
    }
  }
  CHECK_EQ(allowed, 3);
}

TEST("the states are the two bits of HP-06") {
  CHECK_EQ(static_cast<int>(OpState::unwanted), 0b00);
  CHECK_EQ(static_cast<int>(OpState::wanted), 0b10);
  CHECK_EQ(static_cast<int>(OpState::started), 0b11);
  CHECK_EQ(static_cast<int>(OpState::done), 0b01);
}

TEST("wanted or done, at least started and not yet complete are single tests of those bits") {
  struct Row {
    bool wantedOrDone, atLeastStarted, notYetComplete;
  };
  constexpr Row rows[] = {{false, false, false}, {true, false, true}, {true, true, true}, {true, true, false}};
  Operation operation;
  for (size_t i = 0; i < states.size(); i++) {
    if (i > 0) operation.moveTo(states[i]);
    CHECK_EQ(operation.wantedOrDone(), rows[i].wantedOrDone);
    CHECK_EQ(operation.atLeastStarted(), rows[i].atLeastStarted);
    CHECK_EQ(operation.notYetComplete(), rows[i].notYetComplete);
  }
}
