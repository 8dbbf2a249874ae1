// Dropout from a counter-based generator: entry i is kept if word i is below the share to keep.
//
// Words are those of Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011) under the seed as its key. Entries are counted in
// groups of 32: counters 8 g to 8 g + 7 give their first words to the first 8 entries of group g, and so on. So vectors
// of any width and any number of threads give the same mask.
#pragma once
#include <type_traits>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "layout.hpp"

namespace rnnlab::RNNLAB_ISA {

constexpr int64_t group_counters = 8, group_entries = 4 * group_counters;

// Products of the lower halves of lanes: 32 by 32 bits give 64.
RNNLAB_INLINE Vector<uint64_t> multiply_halves(Vector<uint64_t> a, uint64_t b) {
#if defined(__AVX512F__)
    return (Vector<uint64_t>)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(b));
#elif defined(__AVX2__)
    return (Vector<uint64_t>)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
#else
    return (a & 0xffffffff) * b;
#endif
}

// The four words of each counter, each in the lower half of its lane; the upper halves hold anything.
RNNLAB_INLINE void philox(Vector<uint64_t> counter, uint64_t seed, Vector<uint64_t> *word) {
    constexpr uint64_t factor_0 = 0xD2511F53, factor_1 = 0xCD9E8D57;
    constexpr uint32_t step_0 = 0x9E3779B9, step_1 = 0xBB67AE85;
    uint32_t key_0 = uint32_t(seed), key_1 = uint32_t(seed >> 32);
    word[0] = counter, word[1] = counter >> 32, word[2] = word[3] = Vector<uint64_t>{};
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round, key_0 += step_0, key_1 += step_1) {
        const Vector<uint64_t> a = multiply_halves(word[0], factor_0), b = multiply_halves(word[2], factor_1);
        word[0] = (b >> 32) ^ word[1] ^ uint64_t(key_0);
        word[1] = b;
        word[2] = (a >> 32) ^ word[3] ^ uint64_t(key_1);
        word[3] = a;
    }
}

template <class T> struct Dropper {
    using Word = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;  // as wide as the numbers
    static constexpr int width = lanes<uint64_t>;
    typedef uint32_t Narrow __attribute__((vector_size(RNNLAB_VECTOR_BYTES / 2)));

    uint64_t seed;
    Word keep_below;
    T scale;

    explicit Dropper(const rnnlab_dropout &call)
        : seed(call.seed), keep_below(Word(std::min((1 - call.p) * 4294967296.0 + 0.5, 4294967295.0))),
          scale(T(1 / (1 - call.p))) {}

    // What the entries of a group are multiplied by.
    RNNLAB_INLINE void mask(int64_t group, T *out) const {
        Word words[group_entries];
        Vector<uint64_t> counter;
        for (int i = 0; i < width; ++i) counter[i] = group * group_counters + i;
#pragma GCC unroll 4
        for (int lane = 0; lane < group_counters; lane += width, counter += uint64_t(width)) {
            Vector<uint64_t> word[4];
            philox(counter, seed, word);
#pragma GCC unroll 4
            for (int w = 0; w < 4; ++w) {
                Word *to = words + w * group_counters + lane;
                if constexpr (sizeof(T) == 4) {
                    const Narrow narrow = __builtin_convertvector(word[w], Narrow);
                    __builtin_memcpy(to, &narrow, sizeof narrow);
                } else {
                    store(to, word[w] & uint64_t(0xffffffff));
                }
            }
        }
#pragma GCC unroll 16
        for (int i = 0; i < group_entries; i += lanes<T>)
            store(out + i, load(words + i) < keep_below ? all<T>(scale) : Vector<T>{});
    }

    void run(const T *x, T *y, int64_t n, int64_t group) const {
        T factors[group_entries];
        mask(group, factors);
        if (n == group_entries)
#pragma GCC unroll 16
            for (int i = 0; i < group_entries; i += lanes<T>) store(y + i, load(x + i) * load(factors + i));
        else
            for (int64_t i = 0; i < n; ++i) y[i] = x[i] * factors[i];
    }
};

template <class T> void drop(const rnnlab_dropout &call) {
    const Dropper<T> dropper(call);
    const int64_t groups = (call.count + group_entries - 1) / group_entries;
    const int threads = std::clamp<int64_t>(groups / 512, 1, std::max(1, call.threads));  // some 10 us each, or one
    in_parallel(threads, [&](int thread, int threads) {
        share(groups, thread, threads, [&](int64_t group) {
            const int64_t first = group * group_entries, n = std::min(group_entries, call.count - first);
            dropper.run(static_cast<const T *>(call.x) + first, static_cast<T *>(call.y) + first, n, group);
        });
    });
}

}  // namespace rnnlab::RNNLAB_ISA
