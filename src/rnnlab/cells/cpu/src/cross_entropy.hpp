// Summed cross-entropy of the scores that a linear layer gives, and its gradients, in one pass over chunks of rows.
//
//     scores = h W^T + b        nats = sum over rows of log sum exp(scores) - scores[target]
//     d scores = softmax(scores) - onehot(target)        d h = d scores W, d W = d scores^T h, d b = sum of d scores
//
// Of the scores only exp(score - reference) is kept, for one chunk of rows. A row's reference is about its target's
// score, known beforehand, so that an exponential is formed while its score is in the first cache; a row whose scores
// rise too far above that is done again with its largest score. The exponentials stand in the place of the
// gradients of scores and are not divided by the row's sum: the division is made with h, or with d h, and with it the
// product by what the caller wants the gradients multiplied by.
//
// Every number is added up by one thread in an order that the number of threads does not change: threads share the
// words for the scores and for d W, and the rows for d h.
#pragma once
#include <cmath>
#include <limits>

#include "exponentials.hpp"
#include "layout.hpp"

namespace rnnlab::RNNLAB_ISA {

template <class P> class CrossEntropy {
    using T = Value<P>;
    using E = Element<P>;
    static constexpr int width = lanes<T>, columns = panel_width<P>;

  public:
    explicit CrossEntropy(const rnnlab_cross_entropy &call)
        : call(call), save(call.grad_weight || call.grad_bias), depth(call.hidden_size), vocabulary(call.vocab_size),
          words{vocabulary}, groups((vocabulary + group_words - 1) / group_words),
          weight(rows_of<T>(call.weight, vocabulary, depth)) {
        for (int64_t n = 0; n < call.rows; ++n)
            if (call.targets[n] != call.ignore_index) counted.push_back(n);
        for (int64_t n : counted) h.push_back(static_cast<const T *>(call.h) + n * depth);
        const int64_t rows = counted.size(), chunks = (rows + rows_at_once() - 1) / rows_at_once();
        for (int64_t i = 0; i <= chunks; ++i) borders.push_back(chunks ? rows * i / chunks : 0);
        const int64_t largest = chunks ? (rows + chunks - 1) / chunks : 0;
        sums.resize(largest * groups);
        tops.resize(largest * groups);
        totals.resize(largest);
        references.resize(largest);
        target_scores.resize(largest);
        // Past the end stand words that count for nothing in the sums.
        bias.assign(words.count() * columns, -std::numeric_limits<T>::infinity());
        for (int64_t v = 0; v < vocabulary; ++v) bias[v] = call.bias ? static_cast<const T *>(call.bias)[v] : T(0);
        if (!save) return;
        kept.resize(words.count(), largest);
        scaled.reserve(largest * (depth + 1));
    }

    void run() {
        if (save) each_thread([&](int thread, int threads) { clear(thread, threads); });
        double nats = 0;
        for (size_t i = 0; i + 1 < borders.size(); ++i) {
            first = borders[i], count = borders[i + 1] - first;
            left.fill({h.data() + first, false}, 0, count, 0, depth, std::max(1, call.threads));
            each_thread([&](int thread, int threads) {
                share(count, thread, threads, [&](int64_t r) { references[r] = about_at_target(r); });
            });
            do each_thread([&](int thread, int threads) { score(thread, threads); });
            while (!settle());
            for (int64_t r = 0; r < count; ++r) nats += std::log(totals[r]) + (references[r] - target_scores[r]);
            if (!save) continue;
            scale();
            each_thread([&](int thread, int threads) {
                pull_h(thread, threads);
                pull_weight(thread, threads);
            });
        }
        *call.nats = nats;
    }

  private:
    static constexpr int64_t group_words = 256;  // whose weights, packed, stay in the second cache
    static constexpr int64_t group_panels = group_words / columns;

    const rnnlab_cross_entropy &call;
    const bool save;  // whether gradients are wanted
    const int64_t depth, vocabulary;
    const Blocks<P> words;
    const int64_t groups;
    const std::vector<const T *> weight;
    int64_t first = 0, count = 0;           // the chunk at hand
    std::vector<int64_t> counted, borders;  // rows with a target; where chunks begin among them
    std::vector<const T *> h;               // of the rows with a target
    std::vector<T> bias;
    Left<P> left, right;  // h by rows; h divided by each row's sum, and that alone for the bias, by columns
    Buffer<T> scaled;     // what `right` is packed from
    Exponentials<P> kept;
    std::vector<T> tops, references;  // the largest score of each row and group of words; what is subtracted
    std::vector<double> sums, totals, target_scores;

    // As many rows as leave h in the third cache, and the exponentials in no more memory than the weight takes, unless
    // that is little: for each chunk all of the weight is packed and its gradient read and written again. It depends on
    // no number of threads: each chunk's gradients are a sum.
    int64_t rows_at_once() const {
        constexpr int64_t cache = 2 << 20, memory = 45 << 20;
        const int64_t in_cache = cache / std::max<int64_t>(256, elements<P>(depth) * sizeof(E));
        const int64_t weight_bytes = vocabulary * depth * sizeof(T);
        const int64_t panel_bytes = std::max<int64_t>(1, words.count()) * Exponentials<P>::bytes_of_row;
        const int64_t in_memory = save ? std::max(memory, weight_bytes) / panel_bytes : in_cache;
        return std::max<int64_t>(4 * max_rows, std::min(in_cache, in_memory));
    }
    template <class Work> void each_thread(Work work) const { in_parallel(std::max(1, call.threads), work); }
    int64_t target(int64_t r) const { return call.targets[counted[first + r]]; }
    int64_t words_of(int64_t group) const { return std::min(group_words, vocabulary - group * group_words); }
    // The weights of a group of words, which will be packed.
    Ahead weights_ahead(int64_t group) const {
        return group < groups ? Ahead(weight[group * group_words], words_of(group) * depth * sizeof(T)) : Ahead();
    }

    // Rows without a target pull at nothing; without any, nothing is written later.
    void clear(int thread, int threads) {
        T *grad_h = static_cast<T *>(call.grad_h);
        if (thread == 0)
            for (int64_t n = 0; n < call.rows; ++n)
                if (call.targets[n] == call.ignore_index) std::fill_n(grad_h + n * depth, depth, T(0));
        if (!counted.empty()) return;
        const int64_t begin = vocabulary * thread / threads, end = vocabulary * (thread + 1) / threads;
        std::fill_n(static_cast<T *>(call.grad_weight) + begin * depth, (end - begin) * depth, T(0));
        if (call.grad_bias) std::fill_n(static_cast<T *>(call.grad_bias) + begin, end - begin, T(0));
    }

    // The score of a row's target, but for roundings.
    T about_at_target(int64_t r) const {
        const T *a = h[first + r], *b = weight[target(r)];
        Vector<T> sum = {};
        for (int64_t c = 0; c < depth; c += width) sum += load(a + c, depth - c) * load(b + c, depth - c);
        T total = bias[target(r)];
        for (int i = 0; i < width; ++i) total += sum[i];
        return total;
    }

    // Exponentials, their sums and the largest scores for this thread's groups of words.
    void score(int thread, int threads) {
        const int64_t panel = elements<P>(depth) * columns;
        const int64_t slices = groups < 4 * threads ? threads : 1;  // of the rows, where there are few words
        Buffer<E> panels(group_panels * panel);
        int64_t packed = -1;
        share(groups * slices, thread, threads, [&](int64_t task) {
            const int64_t group = task / slices, slice = task % slices;
            const int64_t word = group * group_words, many = words_of(group);
            for (int64_t c = 0; c < many && packed != group; c += columns)
                pack<P>({weight.data() + word, false}, 0, depth, c, std::min<int64_t>(columns, many - c),
                        words.width((word + c) / columns), panels.data() + c / columns * panel);
            packed = group;
            Ahead next = slices == 1 ? weights_ahead(group + 1) : Ahead();
            share(left.count(), slice, slices,
                  [&](int64_t i) { score_block(group, left.block(i), panels.data(), next, left.count() - i); });
        });
    }
    // Where the exponentials of a block's panel will be put.
    Stream place_ahead(int64_t group, const LeftBlock<P> &block, int64_t j) {
        const int64_t panel = group * group_panels + j;
        if (!save || panel >= words.count()) return {};
        return Ahead(kept.row(panel, block.first), block.rows * kept.bytes_of_row).part(1, elements<P>(depth));
    }
    void score_block(int64_t group, const LeftBlock<P> &block, const E *panels, Ahead &next, int64_t blocks_left) {
        constexpr T lowest = -std::numeric_limits<T>::infinity();
        const int64_t many = Blocks<P>{words_of(group)}.count(), rows = block.rows;
        alignas(64) T tile[max_rows][columns];
        const T *starts[max_rows];
        T *out[max_rows];
        Vector<T> sum[max_rows], top[max_rows];
        for (int r = 0; r < max_rows; ++r) out[r] = tile[r], sum[r] = Vector<T>{}, top[r] = all<T>(lowest);
        for (int64_t j = 0; j < many; ++j) {
            const int64_t panel = group * group_panels + j, word = panel * columns;
            for (int r = 0; r < max_rows; ++r) starts[r] = bias.data() + word;
            const int vectors = words.vectors(panel);
            for (int64_t r = 0; r < rows && vectors == 1; ++r) store(tile[r] + width, all<T>(lowest));
            block.multiply(panels + j * elements<P>(depth) * columns, vectors, starts, out,
                           {next.part(many * blocks_left - j, elements<P>(depth)), place_ahead(group, block, j + 1)});
            for (int64_t r = 0; r < rows; ++r) {
                const int64_t row = block.first + r, at = target(row) - word;
                if (at >= 0 && at < columns) target_scores[row] = tile[r][at];
                const Vector<T> x = load(tile[r]), y = load(tile[r] + width);
                const Vector<T> larger = x > y ? x : y;
                top[r] = larger > top[r] ? larger : top[r];
                const Vector<T> e = exp<T>(x - references[row]), f = exp<T>(y - references[row]);
                sum[r] += e + f;
                if (save) P::put(kept.row(panel, row), e, f);
            }
        }
        for (int64_t r = 0; r < rows; ++r) {
            double total = 0;
            T largest = top[r][0];
            for (int i = 0; i < width; ++i) total += sum[r][i], largest = std::max<T>(largest, top[r][i]);
            sums[(block.first + r) * groups + group] = total;
            tops[(block.first + r) * groups + group] = largest;
        }
    }

    // Add up the rows' sums. False: some row's reference was too far from its largest score, and is now that.
    bool settle() {
        constexpr T too_far = 40;  // e^40 times a large vocabulary is a float by far; so is e^-87 of what is left below
        bool fits = true;
        for (int64_t r = 0; r < count; ++r) {
            totals[r] = 0;
            T top = tops[r * groups];
            for (int64_t i = r * groups; i < (r + 1) * groups; ++i) totals[r] += sums[i], top = std::max(top, tops[i]);
            if (!(std::abs(top - references[r]) > too_far)) continue;
            references[r] = top;
            fits = false;
        }
        return fits;
    }

    // Divide h by the rows' sums, and make each exponential its score's gradient times the sum: at the target, less it.
    void scale() {
        const int64_t many = depth + (call.grad_bias != nullptr);
        std::vector<const T *> rows(count);
        for (int64_t r = 0; r < count; ++r) {
            T *row = scaled.data() + r * many;
            const T factor = T(call.grad_scale / totals[r]);
            for (int64_t c = 0; c < depth; ++c) row[c] = h[first + r][c] * factor;
            if (call.grad_bias) row[depth] = factor;  // the bias is the weight of a 1
            rows[r] = row;
            kept.set(target(r), r, T(double(kept.get(target(r), r)) - totals[r]));
        }
        right.fill({rows.data(), true}, 0, many, 0, count);
    }

    // Gradients of this thread's rows of h.
    void pull_h(int thread, int threads) {
        const Blocks<P> across{depth};
        const int64_t begin = left.count() * thread / threads, end = left.count() * (thread + 1) / threads;
        if (begin == end) return;
        const int64_t panel = elements<P>(group_words) * columns;
        Buffer<E> packed(across.count() * panel);
        for (int64_t group = 0; group < groups; ++group) {
            for (int64_t j = 0; j < across.count(); ++j)
                if (!reads_weight(across, j))
                    pack<P>({weight.data() + group * group_words, true}, 0, words_of(group), j * columns,
                            across.size(j), across.width(j), packed.data() + j * panel);
            Ahead next = weights_ahead(group + 1);
            for (int64_t i = begin; i < end; ++i)
                for (int64_t j = 0; j < across.count(); ++j) {
                    const int64_t parts = across.count();
                    const Stream rows =
                        i + 1 < end ? rows_ahead(group, i + 1, j, parts) : rows_ahead(group + 1, begin, j, parts);
                    const Stream words = next.part((end - i) * parts - j, elements<P>(group_words));
                    pull_tile(group, left.block(i), across, j, packed.data() + j * panel, {rows, words});
                }
        }
        const int64_t last = left.block(end - 1).first + left.block(end - 1).rows;
        for (int64_t r = left.block(begin).first; r < last; ++r) {
            T *row = grad_h(r);
            const T factor = T(call.grad_scale / totals[r]);
            for (int64_t c = 0; c < depth; ++c) row[c] *= factor;
        }
    }
    // Of a group's panels of a block of rows, one of `parts` equal parts of each.
    Stream rows_ahead(int64_t group, int64_t i, int64_t part, int64_t parts) {
        if (group >= groups) return {};
        const LeftBlock<P> block = left.block(i);
        const int64_t bytes = block.rows * kept.bytes_of_row;
        const char *begin = reinterpret_cast<const char *>(kept.row(group * group_panels, block.first));
        return {begin + bytes * part / parts, (bytes / parts + piece<P> - 1) / piece<P>};
    }
    // Whether a panel of the weight, words deep, is read where it stands. Of rows that lie half a kilobyte or a
    // multiple of it apart, the first cache holds too few.
    bool reads_weight(const Blocks<P> &across, int64_t j) const {
        return P::depth == 1 && across.size(j) == across.width(j) && depth * sizeof(T) % 512 != 0;
    }
    T *grad_h(int64_t r) const { return static_cast<T *>(call.grad_h) + counted[first + r] * depth; }
    void pull_tile(int64_t group, const LeftBlock<P> &block, const Blocks<P> &across, int64_t j, const E *panel,
                   const Streams &beside) {
        const int64_t row = block.first, rows = block.rows, many = across.size(j);
        const bool direct = many == across.width(j);
        alignas(64) T tile[max_rows][columns];
        T *out[max_rows];
        for (int64_t r = 0; r < rows; ++r) {
            T *there = grad_h(row + r) + j * columns;
            out[r] = direct ? there : tile[r];
            if (!direct && group > 0) std::copy_n(there, many, tile[r]);
        }
        int64_t stride = across.width(j);
        if constexpr (P::depth == 1)
            if (reads_weight(across, j)) panel = weight[group * group_words] + j * columns, stride = depth;
        kernels<P>.of_pieces[rows - 1][across.vectors(j) - 1](kept.row(group * group_panels, row), kept.panel_stride(),
                                                              panel, stride, elements<P>(words_of(group)),
                                                              group > 0 ? out : nullptr, out, beside);
        for (int64_t r = 0; r < rows && !direct; ++r) std::copy_n(tile[r], many, grad_h(row + r) + j * columns);
    }

    // Gradients of this thread's rows of the weight, and of their biases.
    void pull_weight(int thread, int threads) {
        const int64_t many = depth + (call.grad_bias != nullptr);
        Buffer<T> tile((many + std::max<int64_t>(width, even_rows)) * columns);  // by columns of h and words
        Buffer<E> scratch;
        share(words.count(), thread, threads, [&](int64_t panel) {
            const int vectors = P::depth == 1 ? words.vectors(panel) : 2;
            const E *deep = kept.deep(panel, count, vectors, scratch);
            Ahead next = panel + 1 < words.count() ? Ahead(kept.row(panel + 1, 0), count * kept.bytes_of_row) : Ahead();
            Ahead grad(grad_weight(panel), words.size(panel) * depth * sizeof(T));
            for (int64_t i = 0; i < right.count(); ++i) {
                const LeftBlock<P> block = right.block(i);
                T *out[max_rows];
                for (int r = 0; r < max_rows; ++r) out[r] = tile.data() + (block.first + r) * columns;
                block.multiply(deep, vectors, nullptr, out,
                               {next.part(right.count() - i, block.deep), grad.part(right.count() - i, block.deep)});
            }
            put_weight(panel, tile.data());
        });
    }
    T *grad_weight(int64_t panel) const { return static_cast<T *>(call.grad_weight) + panel * columns * depth; }
    // Turn a panel's tile round into the gradient, beside what earlier chunks gave.
    void put_weight(int64_t panel, const T *tile) {
        const int64_t word = panel * columns, many = words.size(panel);
        T *grad = grad_weight(panel);
        auto add = [&](T *to, Vector<T> v, int64_t n) { store(to, first > 0 ? load(to, n) + v : v, n); };
        for (int64_t c = 0; c < depth; c += width)
            for (int half = 0; half < 2; ++half) {
                Vector<T> v[width];
#pragma GCC unroll 16
                for (int i = 0; i < width; ++i) v[i] = load(tile + (c + i) * columns + half * width);
                transpose<T>(v);
                for (int i = 0; i < width; ++i)
                    if (const int64_t w = kept.word_of(half * width + i); w < many)
                        add(grad + w * depth + c, v[i], depth - c);
            }
        if (!call.grad_bias) return;
        T *grad_bias = static_cast<T *>(call.grad_bias) + word;
        for (int c = 0; c < columns; ++c)
            if (const int64_t w = kept.word_of(c); w < many)
                grad_bias[w] = (first > 0 ? grad_bias[w] : T(0)) + tile[depth * columns + c];
    }
};

}  // namespace rnnlab::RNNLAB_ISA
