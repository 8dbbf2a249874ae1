// The forward pass of one layer in one direction.
//
// Once the threads have packed the weights together, each takes its chunks through all steps by itself: a busy core
// delays the end of a window and not every step of it.
#pragma once
#include <memory>

#include "cells.hpp"
#include "engine_sets.hpp"
#include "layout.hpp"

namespace rnnlab::RNNLAB_ISA {

// What the forward pass reads of the weights.
template <class P, class Cell> class ForwardWeights : public rnnlab_packed {
    using T = Value<P>;
    using E = Element<P>;
    const Blocks<P> units;

  public:
    Panels<P> input;
    Buffer<T> bias, bias_q;

    explicit ForwardWeights(const rnnlab_window &w)
        : rnnlab_packed(w), units{w.hidden_size}, input(w.input_size, Cell::num_gates * w.hidden_size),
          bias(Cell::num_gates * w.hidden_size), bias_q(units.count() * panel_width<P>),
          recurrent_(units.count() * panel_elements()) {
        const Layout<P, Cell> layout(w);
        const auto ih = rows_of<T>(w.weight_ih, layout.gate_rows, input_size);
        const auto hh = rows_of<T>(w.weight_hh, layout.gate_rows, hidden_size);
        in_parallel(layout.threads, [&](int thread, int threads) {
            share(input.panels(), thread, threads, [&](int64_t j) { input.fill({ih.data(), false}, j); });
            share(units.count(), thread, threads, [&](int64_t block) {
                for (int g = 0; g < Cell::num_gates; ++g)
                    pack<P>({hh.data(), false}, 0, hidden_size, g * hidden_size + block * panel_width<P>,
                            units.size(block), units.width(block), recurrent_.data() + offset(block, g));
            });
        });
        if (!w.bias_ih) return;
        for (int64_t i = 0; i < layout.gate_rows; ++i) bias.data()[i] = layout.input_bias(i);
        for (int64_t u = 0; u < units.count() * panel_width<P>; ++u)
            bias_q.data()[u] = Cell::has_q && u < hidden_size ? layout.state_bias(2 * hidden_size + u) : T(0);
    }
    // A gate's part of W_hh for a block of units.
    const E *recurrent(int64_t block, int gate) const { return recurrent_.data() + offset(block, gate); }

  private:
    Buffer<E> recurrent_;  // [block of units][gate][k][unit]

    int64_t panel_elements() const { return Cell::num_gates * elements<P>(hidden_size) * panel_width<P>; }
    int64_t offset(int64_t block, int gate) const {
        return block * panel_elements() + gate * elements<P>(hidden_size) * units.width(block);
    }
};

template <class P, class Cell> class Forward : Layout<P, Cell> {
    using T = Value<P>;
    using E = Element<P>;
    using Base = Layout<P, Cell>;
    using Weights = ForwardWeights<P, Cell>;
    using Base::num_gates, Base::window, Base::steps, Base::batch, Base::input_size, Base::hidden_size, Base::gate_rows;
    using Base::units, Base::steps_at_once;

  public:
    explicit Forward(const rnnlab_window &w)
        : Base(w), keep(w.saved), own(w.packed ? nullptr : std::make_unique<Weights>(w)),
          weights(w.packed ? static_cast<const Weights &>(*w.packed) : *own) {}

    void run() {
        in_parallel(this->threads, [&](int thread, int threads) {
            Worker worker;
            worker.chunks = this->chunks_of(thread, threads);
            const int64_t rows = worker.chunks.size() * max_rows;
            for (Buffer<E> &state : worker.state) state.reserve(rows * elements<P>(hidden_size));
            if (num_gates > 1 && !keep) worker.gates.reserve(steps_at_once * rows * gate_rows);
            begin(worker);
            for (int64_t first = 0; first < steps; first += steps_at_once) {
                const int64_t last = std::min(steps, first + steps_at_once);
                project(worker, first, last);
                for (int64_t step = first; step < last; ++step) advance(worker, step, first);
            }
        });
    }

  private:
    // What a thread works with.
    struct Worker {
        std::vector<const Chunk *> chunks;
        Buffer<E> state[2];  // h of all chunks, packed: before even and before odd steps
        Left<P> left;
        Buffer<T> gates;  // W_ih x + b of a few steps, where no backward pass follows
        std::vector<const T *> inputs;
        std::vector<T *> projections;
    };

    const bool keep;
    const std::unique_ptr<const Weights> own;
    const Weights &weights;

    T *h(const Chunk &chunk, int row) const { return static_cast<T *>(window.h_n) + chunk.row[row] * hidden_size; }
    E *packed_state(Worker &worker, int64_t chunk, int64_t step) const {
        return worker.state[step & 1].data() + chunk * max_rows * elements<P>(hidden_size);
    }
    // Pack units of h for the product of the next step.
    void pack_state(const Chunk &chunk, int alive, int64_t unit, int64_t count, E *packed) const {
        const T *rows[max_rows], *masks[max_rows];
        for (int r = 0; r < alive; ++r) rows[r] = h(chunk, r);
        this->of(chunk, static_cast<const T *>(window.recurrent_mask), hidden_size, masks);
        pack<P>({rows, false, window.recurrent_mask ? masks : nullptr}, unit, count, 0, alive, chunk.count,
                packed + unit / P::depth * chunk.count);
    }

    // Copy the initial state to where the running one stands, and clear the outputs that no step writes.
    void begin(Worker &worker) const {
        for (size_t i = 0; i < worker.chunks.size(); ++i) {
            const Chunk &chunk = *worker.chunks[i];
            for (int r = 0; r < chunk.count; ++r) {
                const int64_t at = chunk.row[r] * hidden_size;
                std::copy_n(static_cast<const T *>(window.h_0) + at, hidden_size, h(chunk, r));
                if (Cell::has_cell_state)
                    std::copy_n(static_cast<const T *>(window.c_0) + at, hidden_size,
                                static_cast<T *>(window.c_n) + at);
                for (int64_t t = chunk.length[r]; t < steps; ++t) clear(t * batch + chunk.row[r]);
            }
            pack_state(chunk, chunk.count, 0, hidden_size, packed_state(worker, i, 0));
        }
    }

    // Zero what a step writes that does not happen.
    void clear(int64_t place) const {
        auto fill = [&](void *array, int64_t width) {
            if (array) std::fill_n(static_cast<T *>(array) + place * width, width, T(0));
        };
        fill(window.y, hidden_size);
        fill(window.gates, gate_rows);
        fill(window.saved, hidden_size);
    }

    // Where W_ih x + b of a chunk's rows stands. A simple cell needs it no longer than the outputs, so it is there.
    void gate_rows_at(Worker &worker, int64_t chunk, int alive, int64_t step, int64_t first, T **rows) const {
        if (num_gates > 1 && !keep) {
            T *begin = worker.gates.data() + (step - first) * worker.chunks.size() * max_rows * gate_rows;
            for (int r = 0; r < alive; ++r) rows[r] = begin + (chunk * max_rows + r) * gate_rows;
        } else {
            this->at(*worker.chunks[chunk], alive, step, static_cast<T *>(num_gates == 1 ? window.y : window.gates),
                     gate_rows, rows);
        }
    }

    // W_ih x + b for steps first..last.
    void project(Worker &worker, int64_t first, int64_t last) {
        worker.inputs.clear();
        worker.projections.clear();
        for (int64_t step = first; step < last; ++step)
            for (size_t i = 0; i < worker.chunks.size(); ++i) {
                const T *inputs[max_rows];
                T *projections[max_rows];
                const int alive = worker.chunks[i]->alive(step);
                this->at(*worker.chunks[i], alive, step, static_cast<const T *>(window.x), input_size, inputs);
                gate_rows_at(worker, i, alive, step, first, projections);
                worker.inputs.insert(worker.inputs.end(), inputs, inputs + alive);
                worker.projections.insert(worker.projections.end(), projections, projections + alive);
            }
        multiply<P>({worker.inputs.data(), false}, worker.inputs.size(), weights.input,
                    window.bias_ih ? weights.bias.data() : nullptr, worker.projections.data(), worker.left);
    }

    // One step of all chunks: blocks outside, so that a block's weights serve all chunks while they are in a cache.
    void advance(Worker &worker, int64_t step, int64_t first) {
        for (int64_t block = 0; block < units.count(); ++block)
            for (size_t i = 0; i < worker.chunks.size(); ++i) {
                const Chunk &chunk = *worker.chunks[i];
                const int alive = chunk.alive(step);
                if (alive == 0) continue;
                T *gates[max_rows];
                gate_rows_at(worker, i, alive, step, first, gates);
                advance(chunk, alive, step, block, gates, packed_state(worker, i, step));
                if (const int next = chunk.alive(step + 1); next > 0)
                    pack_state(chunk, next, block * panel_width<P>, units.size(block),
                               packed_state(worker, i, step + 1));
            }
    }

    void advance(const Chunk &chunk, int alive, int64_t step, int64_t block, T **gates, const E *state) {
        const int vectors = units.vectors(block), width = units.width(block);
        const int64_t unit = block * panel_width<P>;
        const int rows = chunk.kernel_rows(alive);
        alignas(64) T sums[num_gates][max_rows][panel_width<P>];
        for (int g = 0; g < num_gates; ++g) {
            const T *start[max_rows] = {};
            T *out[max_rows] = {};
            for (int r = 0; r < rows; ++r) {
                start[r] = weights.bias_q.data() + unit;
                out[r] = sums[g][r];
            }
            const bool is_q = Cell::has_q && g == 2 && window.bias_ih;
            kernels<P>.of[rows - 1][vectors - 1](state, chunk.count, weights.recurrent(block, g),
                                                 elements<P>(hidden_size), is_q ? start : nullptr, out, {});
        }
        T *y[max_rows], *saved[max_rows];
        this->at(chunk, alive, step, static_cast<T *>(window.y), hidden_size, y);
        this->at(chunk, alive, step, static_cast<T *>(keep ? window.saved : nullptr), hidden_size, saved);
        const bool zones = window.zoneout_h || window.zoneout_h_share != 0;
        for (int r = 0; r < alive; ++r) {
            T *c = Cell::has_cell_state ? static_cast<T *>(window.c_n) + chunk.row[r] * hidden_size : nullptr;
            const int64_t place = this->place(chunk, r, step);
            const ForwardRow<T> row{gates[r], h(chunk, r), c, saved[r], keep, this->zoneout_c(place)};
            const Zoneout<T> zoneout_h = this->zoneout_h(place);
            for (int v = 0; v < width; v += lanes<T>) {
                const int64_t u = unit + v, n = hidden_size - u;
                Vector<T> after = Cell::forward(row, sums[0][r] + v, max_rows * panel_width<P>, u, n, hidden_size);
                if (zones) after = zoneout_h.mix(load(row.h + u, n), after, u, n);
                store(row.h + u, after, n);
                store(y[r] + u, after, n);
            }
        }
    }
};

}  // namespace rnnlab::RNNLAB_ISA
