// The part of Network that sends parts of files, by the system itself. Only for engines with features().sendsFiles.
#include <algorithm>
#include <cstring>

#include "net/network.h"

namespace sluice {

namespace {
// One call reads so much from the disk at most, for as long the others wait.
constexpr size_t maxFileBytes = 1024 * 1024;
}  // namespace

// `where` is a pair of doubles: descriptor and position in the file. The part takes its place in the queue, so what is
// staged comes first.
void Network::writeFile(Slot slot, Connection& connection, const OpRecord& op, const uint8_t* where) {
  if (connection.firstStaged >= 0) flushStaged(slot, connection);
  const bool writable =
      connection.writeSide == WriteSide::open &&
      (connection.state == ConnectionState::open || connection.state == ConnectionState::connecting);
  if (!writable) {
    loop_.emit(EventType::released, 0, static_cast<uint32_t>(op.a));
    countTaken(slot, connection, static_cast<uint32_t>(op.b));
    return;
  }
  double numbers[2];
  std::memcpy(numbers, where, sizeof numbers);
  if ((op.head & wantDrainFlag) != 0) connection.wantDrain = true;
  if (!connection.queue && connection.timers) {
    connection.timers->lastWriteMs = loop_.nowMs();
    connection.timers->writeTold = false;
  }
  queueOf(connection)
      .appendFile({static_cast<int>(numbers[0]), static_cast<uint64_t>(numbers[1]), static_cast<uint32_t>(op.b)},
                  static_cast<uint32_t>(op.a));
  if (!connection.sending) sendQueued(slot, connection);
}

// False when the file has failed, and with it everything behind it.
bool Network::sendFile(Slot slot, Connection& connection, const ByteQueue::FilePart& part, SendResult& result) {
  result = engine_.sendFile(slot, part.file, part.offset, std::min<size_t>(part.length, maxFileBytes));
  if (result.fileError == 0) return true;
  emit(EventType::fileFailed, slot, connection, result.fileError);
  // What should have come after the gap must not come at all: the own direction ends here.
  countTaken(slot, connection, connection.queue->sizeBytes());
  dropQueue(connection);
  connection.writeSide = WriteSide::ending;
  afterSending(slot, connection);
  return false;
}

}  // namespace sluice
