// Memory that the engine works in.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace rnnlab::RNNLAB_ISA {

// Memory for numbers, not initialised, on a cache line's border.
template <class T> class Buffer {
  public:
    explicit Buffer(int64_t size = 0) { reserve(size); }
    ~Buffer() { std::free(memory_); }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    Buffer(Buffer &&other) noexcept : memory_(other.memory_), size_(other.size_) {
        other.memory_ = nullptr;
        other.size_ = 0;
    }
    // Make room; what was inside is lost.
    void reserve(int64_t size) {
        if (size <= size_) return;
        std::free(memory_);
        size_ = 0;
        memory_ = static_cast<T *>(std::aligned_alloc(64, (size * sizeof(T) + 63) / 64 * 64));
        if (!memory_) throw std::bad_alloc();
        size_ = size;
    }
    T *data() { return memory_; }
    const T *data() const { return memory_; }

  private:
    T *memory_ = nullptr;
    int64_t size_ = 0;
};

// Memory that a kernel fetches beside its product, where it would have to be waited for later: `step` bytes each k.
// A few lines at a time, since a burst of them stalls the product itself.
struct Stream {
    const char *at = nullptr;
    int64_t step = 0;
};
struct Streams {
    Stream first = {}, second = {};
};

// Memory that will be read next, dealt out to the products before that.
class Ahead {
  public:
    Ahead() = default;
    Ahead(const void *begin, int64_t bytes) : at(static_cast<const char *>(begin)), end(at + bytes) {}
    // One of `pieces` equal parts of what is left, for a product so deep.
    Stream part(int64_t pieces, int64_t depth) {
        const int64_t bytes = (end - at + pieces - 1) / pieces;
        if (bytes <= 0 || depth <= 0) return {};
        const Stream stream{at, (bytes + depth - 1) / depth};
        at += bytes;
        return stream;
    }

  private:
    const char *at = nullptr, *end = nullptr;
};

// A large piece of memory that the next call takes over: fresh pages of that size cost as much as a tenth of a call.
// One is kept, of 256 MB at most; calls at the same time bring their own.
class Lease {
  public:
    Lease() = default;
    ~Lease() {
        if (piece && piece->bytes <= int64_t(256) << 20) piece.reset(kept.exchange(piece.release()));
    }
    Lease(const Lease &) = delete;
    Lease &operator=(const Lease &) = delete;
    // Take so many bytes, once; they hold anything.
    void *take(int64_t bytes) {
        constexpr int64_t page = 2 << 20;
        piece.reset(kept.exchange(nullptr));
        if (piece && piece->bytes >= bytes) return piece->memory;
        piece.reset();
        auto fresh = std::make_unique<Piece>();
        fresh->bytes = std::max(page, (bytes + page - 1) / page * page);
        fresh->memory = std::aligned_alloc(page, fresh->bytes);
        if (!fresh->memory) throw std::bad_alloc();
#if defined(__linux__)
        madvise(fresh->memory, fresh->bytes, MADV_HUGEPAGE);  // or not, as the system likes
#endif
        piece = std::move(fresh);
        return piece->memory;
    }

  private:
    struct Piece {
        void *memory = nullptr;
        int64_t bytes = 0;
        ~Piece() { std::free(memory); }
    };
    static inline std::atomic<Piece *> kept{nullptr};
    std::unique_ptr<Piece> piece;
};

}  // namespace rnnlab::RNNLAB_ISA
