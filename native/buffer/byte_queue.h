#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace sluice {

/// The bytes of all pieces together.
inline size_t sizeOf(const iovec* pieces, int count) {
  size_t size = 0;
  for (int i = 0; i < count; i++) size += pieces[i].iov_len;
  return size;
}

/// Bytes on their way out: owned copies, references to memory that somebody lends until the bytes are gone, and parts of
/// files.
class ByteQueue {
 public:
  /// Whom a drained piece goes back to.
  enum class Owner : uint8_t {
    queue,      // a copy, freed by the queue itself
    engine,     // id: offset of received bytes, see Engine::keep
    reference,  // id: reference slot of JavaScript
    file,       // the same; its bytes are not in memory
    wire,       // id: a block of ciphertext, see WireBlocks
  };

  struct FilePart {
    int file;
    uint64_t offset;
    uint32_t length;
  };

  ByteQueue() = default;
  ByteQueue(const ByteQueue&) = delete;
  ByteQueue& operator=(const ByteQueue&) = delete;
  ~ByteQueue() {
    clear([](Owner, uint32_t) {});
  }

  size_t sizeBytes() const { return size_; }
  bool empty() const { return size_ == 0; }

  /// Copies; small copies share a block.
  void append(const uint8_t* data, uint32_t length) {
    size_ += length;
    if (head_ < pieces_.size()) {
      Piece& last = pieces_.back();
      if (last.owner == Owner::queue && length <= last.spare) {
        std::memcpy(last.block + last.blockUsed, data, length);
        last.length += length;
        last.blockUsed += length;
        last.spare -= length;
        return;
      }
    }
    const uint32_t capacity = length < minBlockBytes ? minBlockBytes : length;
    auto* block = static_cast<uint8_t*>(std::malloc(capacity));
    std::memcpy(block, data, length);
    pieces_.push_back({block, length, 0, Owner::queue, block, length, capacity - length});
  }

  /// Refers to bytes that stay valid until release(owner, id) is called for them.
  void appendBorrowed(const uint8_t* data, uint32_t length, Owner owner, uint32_t id) {
    size_ += length;
    pieces_.push_back({data, length, id, owner, nullptr, 0, 0});
  }

  /// `release(Owner::file, id)` is called when it is not needed any more.
  void appendFile(const FilePart& part, uint32_t id) {
    size_ += part.length;
    // Its position stands in for an address: drain() moves both alike.
    pieces_.push_back({reinterpret_cast<const uint8_t*>(static_cast<uintptr_t>(part.offset)), part.length, id,
                       Owner::file, nullptr, static_cast<uint32_t>(part.file), 0});
  }

  /// Whether a part of a file is in front, which peek() does not show.
  bool frontFile(FilePart& part) const {
    if (head_ >= pieces_.size() || pieces_[head_].owner != Owner::file) return false;
    const Piece& piece = pieces_[head_];
    part = {static_cast<int>(piece.blockUsed), reinterpret_cast<uintptr_t>(piece.data), piece.length};
    return true;
  }

  /// The first pieces as an iovec array, up to a file and `maxBytes` at most; returns how many.
  int peek(iovec* out, int max, size_t maxBytes) const {
    int count = 0;
    for (size_t i = head_; i < pieces_.size() && count < max && maxBytes > 0; i++) {
      if (pieces_[i].owner == Owner::file) break;
      const size_t length = pieces_[i].length < maxBytes ? pieces_[i].length : maxBytes;
      out[count++] = {const_cast<uint8_t*>(pieces_[i].data), length};
      maxBytes -= length;
    }
    return count;
  }

  /// Drops the first `count` bytes; tells release(owner, id) of each borrowed piece that is done.
  template <class Release>
  void drain(size_t count, Release release) {
    size_ -= count;
    while (head_ < pieces_.size()) {
      Piece& piece = pieces_[head_];
      if (count < piece.length) {
        piece.data += count;
        piece.length -= static_cast<uint32_t>(count);
        return;
      }
      count -= piece.length;
      drop(piece, release);
      head_++;
    }
    pieces_.clear();
    head_ = 0;
  }

  template <class Release>
  void clear(Release release) {
    for (; head_ < pieces_.size(); head_++) drop(pieces_[head_], release);
    pieces_.clear();
    head_ = 0;
    size_ = 0;
  }

 private:
  static constexpr uint32_t minBlockBytes = 512;

  struct Piece {
    const uint8_t* data;
    uint32_t length;
    uint32_t id;
    Owner owner;
    uint8_t* block;      // Owner::queue: where `data` was allocated
    uint32_t blockUsed;  // Owner::file: the descriptor
    uint32_t spare;
  };

  template <class Release>
  static void drop(Piece& piece, Release& release) {
    if (piece.owner == Owner::queue) std::free(piece.block);
    else release(piece.owner, piece.id);
  }

  std::vector<Piece> pieces_;
  size_t head_ = 0;
  size_t size_ = 0;
};

}  // namespace sluice
