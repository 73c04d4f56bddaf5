#include "limit/rate_lane.h"

#include <algorithm>

namespace sluice {

void RateQueue::add(RateLane& lane) {
  lane.turn = turns_++;
  hadTogether_ += lane.had;
  lanes_.push_back(&lane);
  rise(lane, lanes_.size() - 1);
}

void RateQueue::remove(RateLane& lane) {
  const size_t place = lane.place;
  RateLane& last = *lanes_.back();
  lanes_.pop_back();
  lane.place = RateLane::notWaiting;
  hadTogether_ -= lane.had;
  if (&last == &lane) return;
  if (place > 0 && before(last, *lanes_[(place - 1) / 2])) rise(last, place);
  else sink(last, place);
}

// Keeps the order, but that equals go by their turn; so the heap is made anew.
void RateQueue::bound(int64_t most) {
  hadTogether_ = 0;
  for (size_t place = 0; place < lanes_.size(); ++place) {
    RateLane& lane = *lanes_[place];
    lane.had = std::min(lane.had, most);
    hadTogether_ += lane.had;
  }
  for (size_t place = lanes_.size() / 2; place-- > 0;) sink(*lanes_[place], place);
}

void RateQueue::put(RateLane& lane, size_t place) {
  lanes_[place] = &lane;
  lane.place = place;
}

void RateQueue::rise(RateLane& lane, size_t place) {
  while (place > 0 && before(lane, *lanes_[(place - 1) / 2])) {
    put(*lanes_[(place - 1) / 2], place);
    place = (place - 1) / 2;
  }
  put(lane, place);
}

void RateQueue::sink(RateLane& lane, size_t place) {
  for (size_t child = 2 * place + 1; child < lanes_.size(); child = 2 * place + 1) {
    if (child + 1 < lanes_.size() && before(*lanes_[child + 1], *lanes_[child])) ++child;
    if (!before(*lanes_[child], lane)) break;
    put(*lanes_[child], place);
    place = child;
  }
  put(lane, place);
}

}  // namespace sluice
