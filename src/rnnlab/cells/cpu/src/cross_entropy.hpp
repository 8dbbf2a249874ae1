// Summed cross-entropy of the scores that a linear layer gives, and its gradients, in one pass over chunks of rows.
//
//     scores = h W^T + b        nats = sum over rows of log sum exp(scores) - scores[target]
//     d scores = softmax(scores) - onehot(target)        d h = d scores W, d W = d scores^T h, d b = sum of d scores
//
// The scores of one chunk of rows are all that is ever in memory, in blocks of words: [block][row][block_depth], so
// that a block of all rows is one piece of memory that stays in a cache. What stands in the place of a gradient of a
// score is exp(score - largest), not yet divided by the row's sum: the division is made with h, or with d h.
//
// Every number is added up by one thread in an order that the number of threads does not change: threads share the
// words for the scores, for their exponentials and for d W, and the rows for d h.
#pragma once
#include <cmath>
#include <limits>

#include "layout.hpp"

namespace rnnlab::RNNLAB_ISA {

template <class P> class CrossEntropy {
    using T = Value<P>;
    using E = Element<P>;

  public:
    explicit CrossEntropy(const rnnlab_cross_entropy &call)
        : call(call), save(call.grad_weight), depth(call.hidden_size), vocabulary(call.vocab_size),
          blocks((vocabulary + block_depth - 1) / block_depth), weight(depth, vocabulary),
          weight_back(save ? vocabulary : 0, depth), h_panels(save ? block_depth : 0, depth) {
        for (int64_t n = 0; n < call.rows; ++n)
            if (call.targets[n] != call.ignore_index) counted.push_back(n);
        for (int64_t n : counted) h.push_back(static_cast<const T *>(call.h) + n * depth);
        const int64_t rows = counted.size(), chunks = (rows + rows_at_once() - 1) / rows_at_once();
        for (int64_t i = 0; i <= chunks; ++i) borders.push_back(chunks ? rows * i / chunks : 0);
        int64_t largest = 0;
        for (int64_t i = 0; i < chunks; ++i) largest = std::max(largest, borders[i + 1] - borders[i]);
        scores.reserve(largest * blocks * block_depth);
        tops.resize(largest * blocks);
        sums.resize(largest * blocks);
        totals.resize(largest);
        target_scores.resize(largest);
        if (save) scaled.reserve(largest * depth);
    }

    void run() {
        const auto rows = rows_of<T>(call.weight, vocabulary, depth);
        each_thread([&](int thread, int threads) {
            share(weight.panels(), thread, threads, [&](int64_t j) { weight.fill({rows.data(), false}, j); });
            if (!save) return;
            share(weight_back.panels(), thread, threads, [&](int64_t j) { weight_back.fill({rows.data(), true}, j); });
            clear(thread, threads);
        });
        double nats = 0;
        for (size_t i = 0; i + 1 < borders.size(); ++i) {
            first = borders[i], count = borders[i + 1] - first;
            each_thread([&](int thread, int threads) { score(thread, threads); });
            for (int64_t r = 0; r < count; ++r) target_scores[r] = at_target(r);
            each_thread([&](int thread, int threads) {
                share(blocks, thread, threads, [&](int64_t block) { exponentials(block); });
            });
            for (int64_t r = 0; r < count; ++r) nats += judge(r);
            if (!save) continue;
            each_thread([&](int thread, int threads) {
                share(h_panels.panels(), thread, threads, [&](int64_t j) { pack_scaled(j); });
            });
            each_thread([&](int thread, int threads) { go_back(thread, threads); });
        }
        *call.nats = nats;
    }

  private:
    const rnnlab_cross_entropy &call;
    const bool save;  // whether gradients are wanted
    const int64_t depth, vocabulary, blocks;
    int64_t first = 0, count = 0;           // the chunk at hand
    std::vector<int64_t> counted, borders;  // rows with a target; where chunks begin among them
    std::vector<const T *> h;               // of the rows with a target
    Panels<P> weight, weight_back, h_panels;
    Buffer<T> scores, scaled;  // of the chunk: scores or their exponentials; h divided by each row's sum
    std::vector<T> tops;       // the largest score of each block and row: [block][row]
    std::vector<double> sums, totals, target_scores;

    // As many rows as a panel serves at once, but not so many that the scores of a large vocabulary fill the memory.
    int64_t rows_at_once() const {
        constexpr int64_t most = std::min<int64_t>(block_depth, group_blocks * max_rows), scores = 1 << 22;
        return std::clamp<int64_t>(scores / std::max<int64_t>(1, vocabulary), 4 * max_rows, most);
    }
    template <class Work> void each_thread(Work work) const { in_parallel(std::max(1, call.threads), work); }
    T *segment(int64_t block, int64_t r) { return scores.data() + (block * count + r) * block_depth; }
    // Some rows of a block that will be packed next.
    Ahead ahead(int64_t block, int64_t begin, int64_t rows) {
        return block < blocks ? Ahead(segment(block, begin), rows * block_depth * sizeof(T)) : Ahead();
    }
    T &at_target(int64_t r) {
        const int64_t target = call.targets[counted[first + r]];
        return segment(target / block_depth, r)[target % block_depth];
    }
    int64_t words(int64_t block) const { return std::min(block_depth, vocabulary - block * block_depth); }

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

    // Scores of the chunk for this thread's blocks of words, and the largest of each row in each.
    void score(int thread, int threads) {
        constexpr int width = lanes<T>;
        std::vector<Left<P>> left((depth + block_depth - 1) / block_depth);
        for (size_t i = 0; i < left.size(); ++i) {
            const int64_t k0 = i * block_depth;
            left[i].fill({h.data() + first, false}, 0, count, k0, std::min(block_depth, depth - k0));
        }
        std::vector<T *> out(count);
        share(blocks, thread, threads, [&](int64_t block) {
            const int64_t column = block * block_depth, panel = column / panel_width<P>;
            const T *bias = call.bias ? static_cast<const T *>(call.bias) + column : nullptr;
            for (int64_t r = 0; r < count; ++r) out[r] = segment(block, r);
            for (int64_t r = 0; r < count && left.empty(); ++r)
                for (int64_t c = 0; c < words(block); ++c) out[r][c] = bias ? bias[c] : T(0);
            for (size_t i = 0; i < left.size(); ++i)
                left[i].multiply({weight.panel(i * block_depth, panel), words(block), bias, out.data(), i > 0}, 0);
            for (int64_t r = 0; r < count; ++r) {
                // Past the end stand numbers that count for nothing in the sums below.
                std::fill(out[r] + words(block), out[r] + block_depth, -std::numeric_limits<T>::infinity());
                Vector<T> largest = all<T>(-std::numeric_limits<T>::infinity());
                for (int64_t c = 0; c < words(block); c += width) {
                    const Vector<T> v = load(out[r] + c);
                    largest = v > largest ? v : largest;
                }
                T top = largest[0];
                for (int i = 1; i < width; ++i) top = std::max<T>(top, largest[i]);
                tops[block * count + r] = top;
            }
        });
    }

    // Exponentials of a block's scores, in their place if gradients are wanted, and their sum for each row.
    void exponentials(int64_t block) {
        constexpr int width = lanes<T>;
        for (int64_t r = 0; r < count; ++r) {
            T *x = segment(block, r);
            const T top = top_of(r);
            Vector<T> sum[2] = {};  // few additions a lane, or digits are lost
            for (int64_t c = 0; c < words(block); c += 2 * width)
                for (int i = 0; i < 2; ++i) {
                    const Vector<T> e = exp_of_negative<T>(load(x + c + i * width) - top);
                    if (save) store(x + c + i * width, e);
                    sum[i] += e;
                }
            sum[0] += sum[1];
            double total = 0;
            for (int i = 0; i < width; ++i) total += sum[0][i];
            sums[block * count + r] = total;
        }
    }
    T top_of(int64_t r) const {
        T top = tops[r];
        for (int64_t block = 1; block < blocks; ++block) top = std::max(top, tops[block * count + r]);
        return top;
    }

    // Nats of a row; with the target's exponential less the sum, its exponentials are its gradients times the sum.
    double judge(int64_t r) {
        double total = 0;
        for (int64_t block = 0; block < blocks; ++block) total += sums[block * count + r];
        totals[r] = total;
        if (save) at_target(r) = T(double(at_target(r)) - total);
        return std::log(total) + (double(top_of(r)) - target_scores[r]);
    }

    // One panel of h divided by the rows' sums.
    void pack_scaled(int64_t panel) {
        const int64_t begin = panel * panel_width<P>, width = Blocks<P>{depth}.size(panel);
        std::vector<const T *> rows(count);
        for (int64_t r = 0; r < count; ++r) {
            T *row = scaled.data() + r * depth;
            const T scale = T(1 / totals[r]);
            for (int64_t c = begin; c < begin + width; ++c) row[c] = h[first + r][c] * scale;
            rows[r] = row;
        }
        pack<P>({rows.data(), true}, 0, count, begin, width, panel_width<P>, h_panels.panel(0, panel));
    }

    // Gradients that this thread adds up: of its rows of the chunk's h, and of its rows of the weight.
    void go_back(int thread, int threads) {
        Left<P> left;
        std::vector<const T *> rows(count);
        std::vector<T *> to;
        const int64_t begin = count * thread / threads, end = count * (thread + 1) / threads;
        for (int64_t r = begin; r < end; ++r) to.push_back(static_cast<T *>(call.grad_h) + counted[first + r] * depth);
        for (int64_t block = 0; block < blocks && begin < end; ++block) {
            for (int64_t r = begin; r < end; ++r) rows[r] = segment(block, r);
            left.fill({rows.data() + begin, false}, 0, end - begin, 0, words(block));
            left.multiply({weight_back.panel(block * block_depth, 0), depth, nullptr, to.data(), block > 0}, 0,
                          ahead(block + 1, begin, end - begin));
        }
        for (int64_t r = begin; r < end; ++r)
            for (int64_t c = 0; c < depth; ++c) to[r - begin][c] *= T(1 / totals[r]);
        // Of the weight a thread has whole panels of words.
        const int64_t panels = Blocks<P>{vocabulary}.count(), word = panels * thread / threads * panel_width<P>;
        const int64_t last = std::min(vocabulary, panels * (thread + 1) / threads * panel_width<P>);
        for (int64_t v = word; v < last;) {
            const int64_t block = v / block_depth, from = v % block_depth;
            const int64_t many = std::min(words(block) - from, last - v);
            for (int64_t r = 0; r < count; ++r) rows[r] = segment(block, r) + from;
            to.clear();
            for (int64_t i = 0; i < many; ++i) to.push_back(static_cast<T *>(call.grad_weight) + (v + i) * depth);
            for (int64_t i = 0; i < many; i += Left<P>::most) {
                left.fill({rows.data(), true}, i, std::min(Left<P>::most, many - i), 0, count);
                left.multiply({h_panels.panel(0, 0), depth, nullptr, to.data(), first > 0}, i,
                              i + Left<P>::most < many ? Ahead() : ahead(block + 1, 0, count));
            }
            if (call.grad_bias) add_rows(rows, static_cast<T *>(call.grad_bias) + v, many);
            v += many;
        }
    }

    // Add to the bias's gradient what the rows give for `many` words.
    void add_rows(const std::vector<const T *> &rows, T *bias, int64_t many) const {
        for (int64_t r = 0; r < count; ++r) {
            const T scale = T(1 / totals[r]);
            for (int64_t c = 0; c < many; c += lanes<T>)
                store(bias + c, load(bias + c, many - c) + load(rows[r] + c, many - c) * scale, many - c);
        }
    }
};

}  // namespace rnnlab::RNNLAB_ISA
