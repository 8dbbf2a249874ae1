// Factors of matrix products, packed so that the kernel reads them front to back.
//
// The left factor goes in blocks of up to `max_rows` rows, of which the kernel broadcasts one number at a time; the
// right one in panels of one or two vectors. A matrix is handed over as pointers to its rows, so that any choice of
// rows (valid steps, one thread's part of the batch, the states of the step before) is a matrix too.
#pragma once
#include "simd.hpp"

namespace rnnlab::RNNLAB_ISA {

// How numbers are kept in packed factors. `depth` of them that meet in one product share an element.
template <class T> struct Plain {
    using Value = T;
    using Element = T;
    static constexpr int depth = 1;
    static RNNLAB_INLINE Vector<T> add_product(Vector<T> sum, Vector<T> b, Element a) { return sum + b * a; }
    // Two vectors of neighbours.
    static RNNLAB_INLINE void put(Element *out, Vector<T> first, Vector<T> second) {
        store(out, first);
        store(out + lanes<T>, second);
    }
    static T get(const Element *row, int64_t i) { return row[i]; }
    static void set(Element *row, int64_t i, T x) { row[i] = x; }
};
using Float32 = Plain<float>;
using Float64 = Plain<double>;

struct BFloat16 {  // two bfloat16 in 32 bits, the first in the lower half
    using Value = float;
    using Element = uint32_t;
    static constexpr int depth = 2;
    static RNNLAB_INLINE Vector<uint32_t> round(Vector<float> x) {  // to nearest, ties to even; nan stays nan
        Vector<uint32_t> bits = (Vector<uint32_t>)x;
        return x == x ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : bits >> 16 | 0x40;
    }
    // Pairs of a number of each.
    static RNNLAB_INLINE Vector<uint32_t> join(Vector<float> first, Vector<float> second) {
#if defined(__AVX512BF16__)
        return join_halves((Vector<uint16_t>)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first),
                           std::make_index_sequence<lanes<uint16_t>>{});
#else
        return round(first) | round(second) << 16;
#endif
    }
    // Pairs of a number of each half.
    template <size_t... lane>
    static RNNLAB_INLINE Vector<uint32_t> join_halves(Vector<uint16_t> both, std::index_sequence<lane...>) {
        return (Vector<uint32_t>)__builtin_shufflevector(both, both, (lane / 2 + lane % 2 * lanes<float>)...);
    }
    // Pairs of neighbours in 2 * lanes numbers.
    static RNNLAB_INLINE Vector<uint32_t> join_neighbours(Vector<float> first, Vector<float> second) {
#if defined(__AVX512BF16__)
        return (Vector<uint32_t>)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
#else
        return join_neighbours(first, second, std::make_index_sequence<lanes<float>>{});
#endif
    }
    static RNNLAB_INLINE void put(uint32_t *out, Vector<float> first, Vector<float> second) {
        store(out, join_neighbours(first, second));
    }
    static float get(const uint32_t *row, int64_t i) {
        const uint32_t bits = row[i / 2] >> i % 2 * 16 << 16;
        float x;
        std::memcpy(&x, &bits, sizeof x);
        return x;
    }
    static void set(uint32_t *row, int64_t i, float x) {
        const uint32_t bits = round(all<float>(x))[0], other = row[i / 2] & 0xffff0000u >> i % 2 * 16;
        row[i / 2] = other | bits << i % 2 * 16;
    }
    template <size_t... lane> static RNNLAB_INLINE Vector<uint32_t>
    join_neighbours(Vector<float> first, Vector<float> second, std::index_sequence<lane...>) {
        return join(__builtin_shufflevector(first, second, (2 * lane)...),
                    __builtin_shufflevector(first, second, (2 * lane + 1)...));
    }
    static RNNLAB_INLINE Vector<float> add_product(Vector<float> sum, Vector<uint32_t> b, uint32_t a) {
#if defined(__AVX512BF16__)
        return (Vector<float>)_mm512_dpbf16_ps((__m512)sum, (__m512bh)b, (__m512bh)all<uint32_t>(a));
#else
        constexpr uint32_t high = 0xffff0000;
        auto factor = all<uint32_t>(a);
        sum += (Vector<float>)(b << 16) * (Vector<float>)(factor << 16);
        return sum + (Vector<float>)(b & high) * (Vector<float>)(factor & high);
#endif
    }
};

template <class P> using Value = typename P::Value;
template <class P> using Element = typename P::Element;
template <class P> constexpr int panel_width = 2 * lanes<Value<P>>;
template <class P> constexpr int64_t elements(int64_t depth) {
    return (depth + P::depth - 1) / P::depth;
}

// A factor by its rows. `deep`: k counts the rows, and the other index runs along each; else the other way round.
template <class T> struct Matrix {
    const T *const *rows;
    bool deep;
    const T *const *scales = nullptr;  // numbers that multiply those of each row one by one, or null

    // Up to n numbers of a row, 0 for the rest of the vector.
    RNNLAB_INLINE Vector<T> load(int64_t row, int64_t column, int64_t n) const {
        if (n <= 0) return Vector<T>{};
        const Vector<T> v = RNNLAB_ISA::load(rows[row] + column, n);
        return scales ? v * RNNLAB_ISA::load(scales[row] + column, n) : v;
    }
};

// Where packed vectors go, `width` elements a k. A vector may be wider than that: the next one covers what it wrote too
// much. Those are cut that no other follows: the last ones, and the second of two that share a k.
template <class E> struct Packed {
    E *out;
    int64_t width, size;

    RNNLAB_INLINE void store(int64_t k, int64_t c, Vector<E> v) const {
        const int64_t at = k * width + c, room = c == 0 ? size - at : width - c;
        RNNLAB_ISA::store(out + at, v, room);
    }
};

constexpr int64_t rows_ahead = 8;  // that are fetched of a deep factor, where one row ends far from the next

// out[k / P::depth][c] for c < width: entries k0.. of columns c0.. of a factor, and 0 past `count` columns.
template <class P> void pack(const Matrix<Value<P>> &from, int64_t k0, int64_t depth, int64_t c0, int64_t count,
                             int64_t width, Element<P> *out) {
    using E = Element<P>;
    constexpr int L = lanes<E>;
    const int64_t deep = elements<P>(depth);
    const Packed<E> packed{out, width, deep * width};
    if (from.deep) {
        for (int64_t e = 0; e < deep; ++e)
            for (int64_t c = 0; c < width; c += L) {
                const int64_t k = k0 + e * P::depth;
                for (int64_t next = k + rows_ahead; next < std::min(k + rows_ahead + P::depth, k0 + depth); ++next)
                    __builtin_prefetch(from.rows[next] + c0 + c);
                if constexpr (P::depth == 1)
                    packed.store(e, c, from.load(k, c0 + c, count - c));
                else
                    packed.store(e, c,
                                 P::join(from.load(k, c0 + c, count - c),
                                         from.load(k + 1, c0 + c, k + 1 < k0 + depth ? count - c : 0)));
            }
        return;
    }
    for (int64_t c = 0; c < width; c += L)
        for (int64_t e = 0; e < deep; e += L) {
            const int64_t k = k0 + e * P::depth, n = depth - e * P::depth;
            Vector<E> block[L];
#pragma GCC unroll 16
            for (int r = 0; r < L; ++r) {
                if (c + r >= count)
                    block[r] = Vector<E>{};
                else if constexpr (P::depth == 1)
                    block[r] = from.load(c0 + c + r, k, n);
                else
                    block[r] = P::join_neighbours(from.load(c0 + c + r, k, n), from.load(c0 + c + r, k + L, n - L));
            }
            transpose<E>(block);
#pragma GCC unroll 16
            for (int j = 0; j < L; ++j)
                if (e + j < deep) packed.store(e + j, c, block[j]);
        }
}

}  // namespace rnnlab::RNNLAB_ISA
