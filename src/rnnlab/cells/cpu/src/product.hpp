// Matrix products on packed factors: the blocking for caches around the register kernels.
#pragma once
#include <vector>

#include "kernel.hpp"
#include "memory.hpp"

namespace rnnlab::RNNLAB_ISA {

// Columns in blocks as wide as a panel; the last may be one vector wide.
template <class P> struct Blocks {
    int64_t columns;

    int64_t count() const { return (columns + panel_width<P> - 1) / panel_width<P>; }
    int64_t size(int64_t block) const { return std::min<int64_t>(panel_width<P>, columns - block * panel_width<P>); }
    int vectors(int64_t block) const { return size(block) > lanes<Value<P>> ? 2 : 1; }
    int width(int64_t block) const { return vectors(block) * lanes<Value<P>>; }
};

// Numbers deep that a product is formed at once: a panel stays in the second cache, beside some blocks of the left
// factor that share it. Each further block of k reads and writes the whole result again.
template <class P> int64_t block_depth(int64_t depth) {
    constexpr int64_t deepest = (128 << 10) / (panel_width<P> * sizeof(Element<P>)) * P::depth;
    const int64_t blocks = std::max<int64_t>(1, (depth + deepest - 1) / deepest);
    return std::max<int64_t>(1, elements<P>((depth + blocks - 1) / blocks)) * P::depth;
}
constexpr int64_t group_bytes = 448 << 10;  // of those blocks of the left factor

// The factor b, packed: [block of k][panel][k][panel_width].
template <class P> struct Panels {
    int64_t depth, columns, block;
    Buffer<Element<P>> storage;

    Panels(int64_t depth, int64_t columns)
        : depth(depth), columns(columns), block(block_depth<P>(depth)),
          storage((depth + block - 1) / block * panels() * panel_elements()) {}
    int64_t panels() const { return Blocks<P>{columns}.count(); }
    int64_t panel_elements() const { return elements<P>(block) * panel_width<P>; }
    Element<P> *panel(int64_t k0, int64_t j) { return storage.data() + (k0 / block * panels() + j) * panel_elements(); }
    const Element<P> *panel(int64_t k0, int64_t j) const { return const_cast<Panels *>(this)->panel(k0, j); }
    // Fill panel j from `from`, all k; `from`'s k 0 is this factor's.
    void fill(const Matrix<Value<P>> &from, int64_t j) {
        for (int64_t k0 = 0; k0 < depth; k0 += block) fill(from, k0, std::min(block, depth - k0), j, panel(k0, j));
    }
    // Fill the one block of k that this factor holds from `deep` k of `from`, from k0 on.
    void fill(const Matrix<Value<P>> &from, int64_t k0, int64_t deep, int64_t j) {
        fill(from, k0, deep, j, panel(0, j));
    }

  private:
    void fill(const Matrix<Value<P>> &from, int64_t k0, int64_t deep, int64_t j, Element<P> *to) const {
        const Blocks<P> across{columns};
        pack<P>(from, k0, deep, j * panel_width<P>, across.size(j), across.width(j), to);
    }
};

// What a left factor is multiplied by, packed for one block of k, and where that goes.
template <class P> struct Target {
    const Element<P> *panels;
    int64_t panel_elements, columns;
    const Value<P> *bias;  // where sums begin, or null: from zero
    Value<P> *const *out;  // rows of `columns` numbers
    bool adds;             // whether sums begin with what `out` holds instead
};

// Rows of a left factor that go through the kernel together.
template <class P> struct LeftBlock {
    const Element<P> *packed;
    int64_t deep, first, rows, kernel_rows;

    // start and out are of kernel_rows rows of so many vectors; start may be null.
    void multiply(const Element<P> *panel, int vectors, const Value<P> *const *start, Value<P> *const *out,
                  const Streams &beside = {}) const {
        kernels<P>.of[kernel_rows - 1][vectors - 1](packed, kernel_rows, panel, deep, start, out, beside);
    }
};

// Up to `most` rows of a left factor, packed for one block of k.
template <class P> class Left {
    using T = Value<P>;

  public:
    static int64_t most(int64_t depth) {
        const int64_t block_bytes = max_rows * elements<P>(depth) * sizeof(Element<P>);
        return std::max<int64_t>(2, group_bytes / block_bytes) * max_rows;
    }

    // Numbers k0.. of rows first.. of a factor.
    // Blocks come in a multiple of `shares`, so that so many threads can divide them.
    void fill(const Matrix<T> &a, int64_t first, int64_t count, int64_t k0, int64_t depth, int64_t shares = 1) {
        constexpr int64_t pack_depth = 32;  // numbers of each block in turn: neighbours in a row of a deep factor
        rows = count;
        blocks = std::min(rows, ((rows + max_rows - 1) / max_rows + shares - 1) / shares * shares);
        deep = elements<P>(depth);
        packed.reserve(blocks * max_rows * deep);
        for (int64_t k = 0; k < depth; k += pack_depth)
            for (int64_t i = 0; i < blocks; ++i)
                pack<P>(a, k0 + k, std::min(pack_depth, depth - k), first + first_row(i), block_rows(i), kernel_rows(i),
                        packed.data() + i * max_rows * deep + k / P::depth * kernel_rows(i));
    }
    // out[from + r] = [bias | out] + a b for each row r.
    void multiply(const Target<P> &target, int64_t from) const {
        const Blocks<P> columns{target.columns};
        for (int64_t j = 0; j < columns.count(); ++j)
            for (int64_t i = 0; i < blocks; ++i) multiply_tile(block(i), target, from, j);
    }
    int64_t count() const { return blocks; }
    LeftBlock<P> block(int64_t i) const {
        return {packed.data() + i * max_rows * deep, deep, first_row(i), block_rows(i), kernel_rows(i)};
    }

  private:
    Buffer<Element<P>> packed;
    int64_t rows = 0, blocks = 0, deep = 0;

    int64_t first_row(int64_t block) const { return rows * block / blocks; }
    int64_t block_rows(int64_t block) const { return first_row(block + 1) - first_row(block); }
    int64_t kernel_rows(int64_t block) const { return std::max(even_rows, block_rows(block)); }
    // One block of rows by one panel.
    static void multiply_tile(const LeftBlock<P> &block, const Target<P> &target, int64_t from, int64_t panel) {
        constexpr int width = panel_width<P>;
        const Blocks<P> across{target.columns};
        const int64_t c0 = panel * width, count = across.size(panel);
        const int64_t all_rows = block.kernel_rows, real_rows = block.rows, row = from + block.first;
        const bool from_zero = !target.adds && !target.bias;
        alignas(64) T tile[max_rows * width];
        T *out[max_rows];
        const T *starts[max_rows];
        for (int64_t r = 0; r < all_rows; ++r) {
            T *in_tile = tile + r * width;
            starts[r] = out[r] = in_tile;
            if (r >= real_rows) {
                std::fill_n(in_tile, width, T(0));
                continue;
            }
            T *there = target.out[row + r] + c0;
            const T *start = target.adds ? there : target.bias + c0;
            if (count == width) {
                out[r] = there;
                starts[r] = start;
                __builtin_prefetch(there, 1);
            } else if (!from_zero) {
                std::copy_n(start, count, in_tile);
                std::fill(in_tile + count, in_tile + width, T(0));
            }
        }
        block.multiply(target.panels + panel * target.panel_elements, across.vectors(panel),
                       from_zero ? nullptr : starts, out);
        for (int64_t r = 0; r < real_rows && count < width; ++r)
            std::copy_n(tile + r * width, count, target.out[row + r] + c0);
    }
};

// All rows of a left factor by each target, for one block of k.
template <class P> void multiply_block(const Matrix<Value<P>> &a, int64_t rows, int64_t k0, int64_t depth,
                                       const std::vector<Target<P>> &targets, Left<P> &left) {
    const int64_t most = Left<P>::most(depth), groups = (rows + most - 1) / most;
    for (int64_t group = 0; group < groups; ++group) {
        const int64_t first = rows * group / groups, last = rows * (group + 1) / groups;
        left.fill(a, first, last - first, k0, depth);
        for (const Target<P> &target : targets) left.multiply(target, first);
    }
}

// out = a b + bias with all of b packed before; `out` gives M rows of b.columns numbers.
template <class P> void multiply(const Matrix<Value<P>> &a, int64_t rows, const Panels<P> &b, const Value<P> *bias,
                                 Value<P> *const *out, Left<P> &left) {
    for (int64_t r = 0; r < rows && b.depth == 0; ++r)
        for (int64_t c = 0; c < b.columns; ++c) out[r][c] = bias ? bias[c] : Value<P>(0);
    for (int64_t k0 = 0; rows > 0 && k0 < b.depth; k0 += b.block)
        multiply_block<P>(a, rows, k0, std::min(b.block, b.depth - k0),
                          {{b.panel(k0, 0), b.panel_elements(), b.columns, bias, out, k0 > 0}}, left);
}

}  // namespace rnnlab::RNNLAB_ISA
