// Summed cross-entropy of the scores that a linear layer gives, and its gradients, in one pass over chunks of rows.
//
//     scores = h W^T + b        nats = sum over rows of log sum exp(scores) - scores[target]
//     d scores = softmax(scores) - onehot(target)        d h = d scores W, d W = d scores^T h, d b = sum of d scores
//
// The scores of one chunk of rows are all that is ever in memory. Every number is added up by one thread in an order
// that the number of threads does not change: threads share the columns of the scores, then the rows of the softmax,
// then the rows of d h and of d W.
#pragma once
#include <cmath>
#include <limits>

#include "layout.hpp"

namespace rnnlab::RNNLAB_ISA {

// exp(x) for x <= 0, with full relative accuracy; numbers below the smallest normal one come out as about that.
template <class T> RNNLAB_INLINE Vector<T> exp_of_negative(Vector<T> x) {
    using E = Exponential<T>;
    using Bits = Vector<typename E::Bits>;
    x = x < E::lowest ? all<T>(E::lowest) : x;
    const Vector<T> shifted = x * E::log2_e + E::round, n = shifted - E::round;
    const Vector<T> r = (x - n * E::ln2_high) - n * E::ln2_low;
    Vector<T> p = all<T>(T(reciprocal_factorial(E::degree)));
#pragma GCC unroll 16
    for (int k = E::degree - 1; k >= 0; --k) p = p * r + T(reciprocal_factorial(k));
    return p * (Vector<T>)(((Bits)shifted - (Bits)all<T>(E::round) + E::bias) << E::mantissa);
}

template <class P> class CrossEntropy {
    using T = Value<P>;
    using E = Element<P>;

  public:
    explicit CrossEntropy(const rnnlab_cross_entropy &call)
        : call(call), save(call.grad_weight), depth(call.hidden_size), vocabulary(call.vocab_size),
          weight(depth, vocabulary), weight_back(save ? vocabulary : 0, depth),
          h_panels(save ? block_depth : 0, depth) {
        for (int64_t n = 0; n < call.rows; ++n)
            if (call.targets[n] != call.ignore_index) counted.push_back(n);
        for (int64_t n : counted) h.push_back(static_cast<const T *>(call.h) + n * depth);
        // An odd number of panels: rows a power of two apart would meet in a few sets of the caches.
        stride = (weight.panels() | 1) * panel_width<P>;
        const int64_t rows = counted.size(), chunks = (rows + rows_at_once() - 1) / rows_at_once();
        for (int64_t i = 0; i <= chunks; ++i) borders.push_back(chunks ? rows * i / chunks : 0);
        for (int64_t i = 0; i < chunks; ++i) largest = std::max(largest, borders[i + 1] - borders[i]);
        scores.reserve(largest * stride);
    }

    void run() {
        const auto rows = rows_of<T>(call.weight, vocabulary, depth);
        each_thread([&](int thread, int threads) {
            share(weight.panels(), thread, threads, [&](int64_t j) { weight.fill({rows.data(), false}, j); });
            if (!save) return;
            share(weight_back.panels(), thread, threads, [&](int64_t j) { weight_back.fill({rows.data(), true}, j); });
            clear(thread, threads);
        });
        std::vector<double> nats(counted.size());
        for (size_t i = 0; i + 1 < borders.size(); ++i) {
            first = borders[i], count = borders[i + 1] - first;
            each_thread([&](int thread, int threads) { score(thread, threads); });
            each_thread([&](int thread, int threads) {
                share(count, thread, threads, [&](int64_t r) { nats[first + r] = judge(r); });
            });
            if (save) each_thread([&](int thread, int threads) { go_back(thread, threads); });
        }
        *call.nats = 0;
        for (double row : nats) *call.nats += row;
    }

  private:
    const rnnlab_cross_entropy &call;
    const bool save;  // whether gradients are wanted
    const int64_t depth, vocabulary;
    int64_t stride, largest = 0, first = 0, count = 0;  // of a row of scores; of chunks; the chunk at hand
    std::vector<int64_t> counted, borders;              // rows with a target; where chunks begin among them
    std::vector<const T *> h;                           // of the rows with a target
    Panels<P> weight, weight_back, h_panels;
    Buffer<T> scores;

    // As many rows as a panel serves at once, but not so many that the scores of a large vocabulary fill the memory.
    int64_t rows_at_once() const {
        constexpr int64_t most = std::min<int64_t>(block_depth, group_blocks * max_rows), scores = 1 << 23;
        return std::clamp<int64_t>(scores / std::max<int64_t>(1, vocabulary), 4 * max_rows, most);
    }
    template <class Work> void each_thread(Work work) const { in_parallel(std::max(1, call.threads), work); }
    T *row(int64_t r) { return scores.data() + r * stride; }

    // Rows without a target pull at nothing; without any, nothing is written later.
    void clear(int thread, int threads) {
        T *grad_h = static_cast<T *>(call.grad_h);
        if (thread == 0)
            for (int64_t n = 0; n < call.rows; ++n)
                if (call.targets[n] == call.ignore_index) std::fill_n(grad_h + n * depth, depth, T(0));
        const int64_t begin = vocabulary * thread / threads, end = vocabulary * (thread + 1) / threads;
        if (call.grad_bias) std::fill_n(static_cast<T *>(call.grad_bias) + begin, end - begin, T(0));
        if (counted.empty() || depth == 0)
            std::fill_n(static_cast<T *>(call.grad_weight) + begin * depth, (end - begin) * depth, T(0));
    }

    // Scores of the chunk for this thread's columns.
    void score(int thread, int threads) {
        const int64_t begin = weight.panels() * thread / threads, end = weight.panels() * (thread + 1) / threads;
        const int64_t column = begin * panel_width<P>, columns = std::min(vocabulary, end * panel_width<P>) - column;
        const T *bias = call.bias ? static_cast<const T *>(call.bias) + column : nullptr;
        std::vector<T *> out(count);
        for (int64_t r = 0; r < count; ++r) out[r] = row(r) + column;
        Buffer<E> packed;
        for (int64_t k = 0; k < depth && columns > 0; k += block_depth)
            multiply_block<P>({h.data() + first, false}, count, k, std::min(block_depth, depth - k),
                              {{weight.panel(k, begin), columns, bias, out.data()}}, packed);
        if (save)
            share(h_panels.panels(), thread, threads, [&](int64_t j) {
                const int64_t c = j * panel_width<P>, width = std::min<int64_t>(panel_width<P>, depth - c);
                pack<P>({h.data() + first, true}, 0, count, c, width, panel_width<P>, h_panels.panel(0, j));
            });
    }

    // Nats of a row; its scores become their gradients if those are wanted.
    double judge(int64_t r) {
        T *x = row(r);
        constexpr int width = lanes<T>;
        const int64_t target = call.targets[counted[first + r]];
        // Past the end stand numbers that count for nothing in any of the sums below.
        std::fill(x + vocabulary, x + stride, -std::numeric_limits<T>::infinity());
        const T score = x[target];
        Vector<T> largest = all<T>(-std::numeric_limits<T>::infinity());
        for (int64_t c = 0; c < vocabulary; c += width) {
            const Vector<T> v = load(x + c);
            largest = v > largest ? v : largest;
        }
        T top = largest[0];
        for (int i = 1; i < width; ++i) top = std::max<T>(top, largest[i]);
        const auto exponential = [&](int64_t c) RNNLAB_INLINE_LAMBDA {
            const Vector<T> e = exp_of_negative<T>(load(x + c) - top);
            if (save) store(x + c, e);
            return e;
        };
        double total = 0;
        for (int64_t begin = 0; begin < vocabulary; begin += 32 * width) {  // few additions a lane, or digits are lost
            const int64_t end = std::min(vocabulary, begin + 32 * width);
            Vector<T> sum[2] = {};
            int64_t c = begin;
            for (; c + width < end; c += 2 * width) {
                sum[0] += exponential(c);
                sum[1] += exponential(c + width);
            }
            if (c < end) sum[0] += exponential(c);
            sum[0] += sum[1];
            for (int i = 0; i < width; ++i) total += sum[0][i];
        }
        if (save) {
            const T scale = T(1 / total);
            for (int64_t c = 0; c < vocabulary; c += width) store(x + c, load(x + c) * scale);
            x[target] -= 1;
        }
        return std::log(total) + (double(top) - double(score));
    }

    // Gradients that this thread adds up: of its rows of the chunk's h, and of its rows of the weight.
    void go_back(int thread, int threads) {
        Buffer<E> packed;
        std::vector<const T *> from(count);
        std::vector<T *> to;
        const int64_t begin = count * thread / threads, end = count * (thread + 1) / threads;
        for (int64_t r = 0; r < count; ++r) from[r] = row(r);
        for (int64_t r = begin; r < end; ++r) to.push_back(static_cast<T *>(call.grad_h) + counted[first + r] * depth);
        multiply<P>({from.data() + begin, false}, end - begin, weight_back, nullptr, to.data(), packed);
        const int64_t word = vocabulary * thread / threads, words = vocabulary * (thread + 1) / threads - word;
        to.clear();
        for (int64_t v = word; v < word + words; ++v) to.push_back(static_cast<T *>(call.grad_weight) + v * depth);
        T *bias = static_cast<T *>(call.grad_bias) + word;
        for (const T *&r : from) {
            r += word;
            for (int64_t c = 0; c < words && call.grad_bias; c += lanes<T>)
                store(bias + c, load(bias + c, words - c) + load(r + c, words - c), words - c);
        }
        // The chunk's rows are numbered as all rows with a target are: block 0 begins the sums, later ones add to them.
        std::vector<const T *> numbered(first + count);
        std::copy(from.begin(), from.end(), numbered.begin() + first);
        if (words > 0)
            multiply_block<P>({numbered.data(), true}, words, first, count,
                              {{h_panels.panel(0, 0), depth, nullptr, to.data()}}, packed);
    }
};

}  // namespace rnnlab::RNNLAB_ISA
