// The register kernels of matrix products: some rows by one or two vectors, all k.
//
// out[r][c] = start[r][c] + sum over k of a[k][r] * b[k][c]
#pragma once
#include "memory.hpp"
#include "pack.hpp"

namespace rnnlab::RNNLAB_ISA {

constexpr int max_rows = RNNLAB_BLOCK_ROWS;

// start[r] is null (from zero) or where row r's sums begin.
template <class P> using KernelFunction = void (*)(const Element<P> *a, int64_t a_stride, const Element<P> *b,
                                                   int64_t depth, const Value<P> *const *start, Value<P> *const *out,
                                                   const Streams &beside);

// What a kernel fetches for later, a step each k. Without a stream it is the panel it reads, whose address is known.
class Fetching {
  public:
    RNNLAB_INLINE Fetching(const Stream &stream, const void *panel)
        : at(stream.at ? stream.at : static_cast<const char *>(panel)), step(stream.step) {}
    RNNLAB_INLINE void advance() {
        __builtin_prefetch(at, 0, 2);
        at += step;
    }
    RNNLAB_INLINE void jump(int64_t bytes) { at += step ? bytes : 0; }

  private:
    const char *at;
    const int64_t step;
};

// sum[r][v] += a[r] * b[v] for one k; `row_step` elements stand between a's rows. `ahead` elements on, b is fetched.
template <class P, int row_step, int rows, int vectors>
RNNLAB_INLINE void add_products(Vector<Value<P>> (&sum)[rows][vectors], const Element<P> *a, const Element<P> *b,
                                int64_t ahead = RNNLAB_PREFETCH_BYTES / sizeof(Element<P>)) {
    Vector<Element<P>> panel[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
        panel[v] = load(b + v * lanes<Value<P>>);
        if (v * RNNLAB_VECTOR_BYTES % 64 == 0)  // once a cache line
            __builtin_prefetch(b + v * lanes<Value<P>> + ahead);
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) sum[r][v] = P::add_product(sum[r][v], panel[v], a[r * row_step]);
}

// The left factor is packed; `a_stride` elements stand between its rows of one k and the next.
template <class P, int rows, int vectors> void kernel(const Element<P> *a, int64_t a_stride, const Element<P> *b,
                                                      int64_t depth, const Value<P> *const *start, Value<P> *const *out,
                                                      const Streams &beside) {
    using T = Value<P>;
    constexpr int width = lanes<T>;
    Fetching first(beside.first, b), second(beside.second, b);
    // Few sums would wait for each other's additions: several of each then go side by side.
    constexpr int copies = rows == 1 ? 4 : rows == 2 ? 2 : 1;
    Vector<T> sum[copies][rows][vectors];
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) {
            sum[0][r][v] = start ? load(start[r] + v * width) : Vector<T>{};
#pragma GCC unroll 4
            for (int u = 1; u < copies; ++u) sum[u][r][v] = Vector<T>{};
        }
    int64_t k = 0;
    for (; copies > 1 && k + copies <= depth; k += copies) {
#pragma GCC unroll 4
        for (int u = 0; u < copies; ++u, a += a_stride, b += vectors * width) add_products<P, 1>(sum[u], a, b);
    }
    for (; k < depth; ++k, a += a_stride, b += vectors * width) {
        first.advance();
        second.advance();
        add_products<P, 1>(sum[0], a, b);
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) {
            Vector<T> total = sum[0][r][v];
#pragma GCC unroll 4
            for (int u = 1; u < copies; ++u) total += sum[u][r][v];
            store(out[r] + v * width, total);
        }
}

// The left factor stands row by row in pieces of one panel's columns, as it came out of a product: a piece of each row,
// then, `a_stride` elements after the first, the next piece of each. The right one need not be packed: `b_stride`
// elements stand between its vectors of one k and the next. The first stream is of another such left factor, and goes
// on as far behind from piece to piece.
template <class P> constexpr int piece = panel_width<P> / P::depth;
template <class P> using PieceKernelFunction = void (*)(const Element<P> *a, int64_t a_stride, const Element<P> *b,
                                                        int64_t b_stride, int64_t depth, const Value<P> *const *start,
                                                        Value<P> *const *out, const Streams &beside);
template <class P, int rows, int vectors>
void piece_kernel(const Element<P> *a, int64_t a_stride, const Element<P> *b, int64_t b_stride, int64_t depth,
                  const Value<P> *const *start, Value<P> *const *out, const Streams &beside) {
    using T = Value<P>;
    constexpr int width = lanes<T>;
    Fetching first(beside.first, b), second(beside.second, b);
    const int64_t ahead = RNNLAB_PREFETCH_BYTES / (panel_width<P> * sizeof *b) * b_stride;
    const int64_t jump = a_stride * int64_t(sizeof *a) - piece<P> * beside.first.step;
    Vector<T> sum[rows][vectors] = {};
    for (; depth > 0; depth -= piece<P>, a += a_stride, first.jump(jump))
        for (int64_t k = 0; k < std::min<int64_t>(piece<P>, depth); ++k, b += b_stride) {
            first.advance();
            second.advance();
            add_products<P, piece<P>>(sum, a + k, b, ahead);
        }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v)
            store(out[r] + v * width, start ? load(start[r] + v * width) + sum[r][v] : sum[r][v]);
}

// kernels<P>.of[r - 1][v - 1] and .of_pieces[r - 1][v - 1] work on r rows and v vectors.
template <class P> struct Kernels {
    KernelFunction<P> of[max_rows][2];
    PieceKernelFunction<P> of_pieces[max_rows][2];
    constexpr Kernels() : of{}, of_pieces{} { fill<max_rows>(); }
    template <int rows> constexpr void fill() {
        of[rows - 1][0] = kernel<P, rows, 1>;
        of[rows - 1][1] = kernel<P, rows, 2>;
        of_pieces[rows - 1][0] = piece_kernel<P, rows, 1>;
        of_pieces[rows - 1][1] = piece_kernel<P, rows, 2>;
        if constexpr (rows > 1) fill<rows - 1>();
    }
};
template <class P> inline constexpr Kernels<P> kernels{};

// From this many rows on, a kernel adds the products of a sum one after the other, whatever their number: a row's
// result does not depend on the rows beside it. Fewer rows are filled up to it where the threads decide who is beside
// whom.
constexpr int64_t even_rows = 3;

}  // namespace rnnlab::RNNLAB_ISA
