// Text from a language model, token after token: embedding, layers, scores and the draw of the next token in one call.
//
// What a token costs is to read all weights once. They are read where they stand, each thread its own units of every
// layer and its own words of the decoder, all tokens of a call in one parallel region: threads meet once a layer.
#pragma once
#include <atomic>
#include <cmath>
#include <limits>
#if defined(_OPENMP)
#include <sched.h>
#endif

#include "token.hpp"

namespace rnnlab::RNNLAB_ISA {

// Where threads wait for each other, without going to sleep at once: the next layer is some microseconds away.
class Meeting {
  public:
    void wait(int threads) {
        if (threads == 1) return;
        const int64_t turn = turn_.load(std::memory_order_relaxed);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
            arrived_.store(0, std::memory_order_relaxed);
            turn_.store(turn + 1, std::memory_order_release);
            return;
        }
#if defined(_OPENMP)
        constexpr int spins = 4096;  // then other processes may have the core
        for (int i = 0; turn_.load(std::memory_order_acquire) == turn; ++i)
            if (i >= spins) sched_yield();
#endif
    }

  private:
    std::atomic<int> arrived_{0};
    std::atomic<int64_t> turn_{0};
};

// Draws a token from scores.
class Draw {
  public:
    explicit Draw(const rnnlab_text &call)
        : call(call), is_filtered(call.top_k < call.vocab_size || call.top_p < 1),
          shares(call.vocab_size + lanes<double>), order(is_filtered ? call.vocab_size : 0) {}

    // The token at which the summed probability passes level, a number in [0, 1), times its sum; -1 if the largest
    // score is not a finite number.
    int64_t token(const float *scores, double level) {
        const int64_t V = call.vocab_size;
        int64_t best = -1;
        bool is_nan = false;
        for (int64_t v = 0; v < V; ++v) {
            if (!allowed(v)) continue;
            is_nan |= std::isnan(scores[v]);
            if (best < 0 || scores[v] > scores[best]) best = v;
        }
        if (best < 0 || is_nan || !std::isfinite(scores[best])) return -1;
        if (call.temperature == 0) return best;
        fill(scores, scores[best]);
        if (is_filtered) filter(scores);
        double total = 0;
        for (int64_t v = 0; v < V; ++v) total += shares.data()[v];
        // A share of 0 does not raise the sum, so that it is never where that passes.
        double sum = 0;
        const double bound = level * total;
        for (int64_t v = 0; v < V; ++v)
            if ((sum += shares.data()[v]) > bound) return v;
        return best;  // not reached: the same sum, in the same order, is above level times it
    }

  private:
    const rnnlab_text &call;
    const bool is_filtered;
    Buffer<double> shares;  // of each token, the likeliest having 1
    std::vector<int64_t> order;

    bool allowed(int64_t v) const { return !call.forbidden || !call.forbidden[v]; }

    void fill(const float *scores, float largest) {
        constexpr int width = lanes<double>;
        constexpr double none = Exponential<double>::lowest;  // below it a share is 0
        double *x = shares.data();
        for (int64_t v = 0; v < call.vocab_size; ++v)
            x[v] = allowed(v) ? double(scores[v] - largest) / call.temperature : 2 * none;
        std::fill_n(x + call.vocab_size, width, 2 * none);
        for (int64_t v = 0; v < call.vocab_size; v += width) {
            const Vector<double> d = load(x + v);
            store(x + v, d > none ? exp<double>(d) : Vector<double>{});
        }
    }

    // Only the top_k likeliest stay, and of those the fewest that hold top_p; ties are broken by number.
    void filter(const float *scores) {
        std::iota(order.begin(), order.end(), 0);
        const int64_t k = std::min(call.top_k, call.vocab_size);
        std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int64_t a, int64_t b) {
            if (allowed(a) != allowed(b)) return allowed(a);
            return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
        });
        for (int64_t i = k; i < call.vocab_size; ++i) shares.data()[order[i]] = 0;
        if (call.top_p >= 1) return;
        double total = 0, before = 0;
        for (int64_t i = 0; i < k; ++i) total += shares.data()[order[i]];
        for (int64_t i = 0; i < k; ++i) {
            double &share = shares.data()[order[i]];
            const double mine = share / total;
            if (i > 0 && before >= call.top_p) share = 0;
            before += mine;
        }
    }
};

template <class Cell> class Text {
    using T = float;

  public:
    explicit Text(const rnnlab_text &call) : call(call), draw(call), scores(call.rows * call.vocab_size + 4) {
        layers.reserve(call.num_layers);
        int64_t numbers = call.vocab_size * call.layers[call.num_layers - 1].hidden_size;
        for (int64_t i = 0; i < call.num_layers; ++i) {
            const rnnlab_window &w = call.layers[i];
            layers.emplace_back(w);
            numbers += Cell::num_gates * w.hidden_size * (w.input_size + w.hidden_size);
        }
        // Threads pay where the weights are more than a cache holds.
        workers.resize(numbers >= 1 << 20 ? std::max(1, call.threads) : 1);
        for (Worker &worker : workers) {
            worker.x.resize(call.rows);
            worker.h.resize(call.rows);
        }
        for (int64_t r = 0; r < call.rows; ++r) rows_of_scores.push_back(scores.data() + r * call.vocab_size);
    }

    // Returns how many steps were made: fewer than asked for once every row has drawn the last token of a text.
    int64_t run() {
        Meeting meeting;
        int64_t made = 0;
        bool over = false;  // written by the first thread while the others wait for it
        in_parallel(workers.size(), [&](int thread, int threads) {  // in which nothing is allocated: all would wait
            Worker &worker = workers[thread];
            for (int64_t step = 0; step < call.steps; ++step) {
                const int64_t *last = step ? call.tokens + (step - 1) * call.rows : call.last_tokens;
                for (size_t i = 0; i < layers.size(); ++i) {
                    for (int64_t r = 0; r < call.rows; ++r)
                        worker.x[r] = i ? layers[i - 1].h(r, step + 1) : embedding(last[r]);
                    layers[i].advance(worker, step, thread, threads);
                    meeting.wait(threads);
                }
                score(worker, step, thread, threads);
                meeting.wait(threads);
                if (thread == 0) {
                    over = choose(call.tokens + step * call.rows, step);
                    made = step + 1;
                }
                meeting.wait(threads);
                if (over) break;
            }
        });
        for (Layer &layer : layers) layer.leave(made);
        return made;
    }

  private:
    struct Worker {  // rows of inputs and states that a thread reads
        std::vector<const T *> x, h;
    };

    // A layer's running state: h is where the step before left it, and a step leaves the next beside it, since other
    // threads may still be reading.
    class Layer : Layout<Float32, Cell> {
        using Base = Layout<Float32, Cell>;
        using Base::num_gates, Base::window, Base::batch, Base::input_size, Base::hidden_size, Base::gate_rows;

      public:
        explicit Layer(const rnnlab_window &w)
            : Base(w), beside(batch * hidden_size), from_input(batch * gate_rows + lanes<T>),
              from_state(batch * gate_rows + lanes<T>), bias(gate_rows), bias_q(gate_rows) {
            for (int64_t r = 0; r < batch; ++r) {
                input_sums.push_back(from_input.data() + r * gate_rows);
                state_sums.push_back(from_state.data() + r * gate_rows);
            }
            for (int64_t i = 0; i < gate_rows; ++i) {
                bias.data()[i] = w.bias_ih ? this->input_bias(i) : T(0);
                bias_q.data()[i] = w.bias_ih ? this->state_bias(i) : T(0);
            }
        }
        // Of row r, before a step.
        const T *h(int64_t r, int64_t step) const { return state(step) + r * hidden_size; }

        // This thread's units through a step; whole vectors, so that nothing depends on the number of threads.
        void advance(Worker &worker, int64_t step, int thread, int threads) {
            const int64_t vectors = (hidden_size + lanes<T> - 1) / lanes<T>;
            const int64_t first = vectors * thread / threads * lanes<T>;
            const int64_t last = std::min<int64_t>(hidden_size, vectors * (thread + 1) / threads * lanes<T>);
            for (int64_t r = 0; r < batch; ++r) worker.h[r] = h(r, step);
            for (int g = 0; g < num_gates && first < last; ++g) {
                const int64_t begin = g * hidden_size + first, end = g * hidden_size + last;
                dot_products<T>(worker.x, static_cast<const T *>(window.weight_ih), input_size, bias.data(), input_sums,
                                begin, end);
                dot_products<T>(worker.h, static_cast<const T *>(window.weight_hh), hidden_size, bias_q.data(),
                                state_sums, begin, end);
            }
            for (int64_t r = 0; r < batch && first < last; ++r) {
                T *c = Cell::has_cell_state ? static_cast<T *>(window.c_n) + r * hidden_size : nullptr;
                const ForwardRow<T> row{input_sums[r], const_cast<T *>(worker.h[r]), c, nullptr, false, {}};
                for (int64_t u = first; u < last; u += lanes<T>) {
                    const int64_t n = hidden_size - u;
                    store(state(step + 1) + r * hidden_size + u,
                          Cell::forward(row, state_sums[r] + u, hidden_size, u, n, hidden_size), n);
                }
            }
        }
        // After so many steps, leave the state where the caller looks for it.
        void leave(int64_t steps) {
            if (steps % 2) std::copy_n(beside.data(), batch * hidden_size, static_cast<T *>(window.h_n));
        }

      private:
        Buffer<T> beside, from_input, from_state, bias, bias_q;
        std::vector<T *> input_sums, state_sums;

        T *state(int64_t step) { return step % 2 ? beside.data() : static_cast<T *>(window.h_n); }
        const T *state(int64_t step) const { return step % 2 ? beside.data() : static_cast<const T *>(window.h_n); }
    };

    const rnnlab_text &call;
    Draw draw;
    Buffer<T> scores;
    std::vector<T *> rows_of_scores;
    std::vector<Layer> layers;
    std::vector<Worker> workers;

    const T *embedding(int64_t token) const {
        return static_cast<const T *>(call.embedding) + token * call.layers[0].input_size;
    }

    // This thread's words.
    void score(Worker &worker, int64_t step, int thread, int threads) {
        const int64_t V = call.vocab_size, groups = V / 4, first = groups * thread / threads * 4;
        const int64_t last = thread + 1 == threads ? V : groups * (thread + 1) / threads * 4;
        for (int64_t r = 0; r < call.rows; ++r) worker.h[r] = layers.back().h(r, step + 1);
        const int64_t hidden_size = call.layers[call.num_layers - 1].hidden_size;
        dot_products<T>(worker.h, static_cast<const T *>(call.decoder_weight), hidden_size,
                        static_cast<const T *>(call.decoder_bias), rows_of_scores, first, last);
    }

    // Returns whether every text is over, or one cannot go on.
    bool choose(int64_t *tokens, int64_t step) {
        bool over = true;
        for (int64_t r = 0; r < call.rows; ++r) {
            const double level = call.levels ? call.levels[step * call.rows + r] : 0;
            tokens[r] = draw.token(rows_of_scores[r], level);
            if (tokens[r] < 0) return true;
            call.stopped[r] |= tokens[r] == call.stop_id;
            over = over && call.stopped[r];
        }
        return over;
    }
};

}  // namespace rnnlab::RNNLAB_ISA
