// Everything that depends on the instruction set, compiled once for each; engine.cpp chooses at run time.
#include "backward.hpp"
#include "cross_entropy.hpp"
#include "dropout.hpp"
#include "engine_sets.hpp"
#include "forward.hpp"
#include "token.hpp"
#include "write.hpp"

namespace rnnlab::RNNLAB_ISA {
namespace {

// Call work(cell) for the cell that a window asks for.
template <class P, class Work> void choose_cell(const rnnlab_window &window, Work work) {
    using T = Value<P>;
    switch (window.cell) {
        case RNNLAB_TANH: return work(SimpleCell<T, false>{});
        case RNNLAB_RELU: return work(SimpleCell<T, true>{});
        case RNNLAB_LSTM: return work(LstmCell<T>{});
        case RNNLAB_GRU: return work(GruCell<T>{});
    }
}

// Call work(arithmetic) for the arithmetic asked for. The set of processors that multiply bfloat16 does only that; the
// portable set imitates it, for tests.
template <class Work> void choose_arithmetic(int32_t arithmetic, Work work) {
#if !defined(__AVX512BF16__)
    if (arithmetic == RNNLAB_FLOAT32) work(Float32{});
    if (arithmetic == RNNLAB_FLOAT64) work(Float64{});
#endif
#if defined(__AVX512BF16__) || RNNLAB_IMITATE_BFLOAT16
    if (arithmetic == RNNLAB_BFLOAT16) work(BFloat16{});
#endif
}

template <class P> void product(const rnnlab_product &call) {
    using T = Value<P>;
    const auto a =
        rows_of<T>(call.a, call.a_transposed ? call.depth : call.rows, call.a_transposed ? call.rows : call.depth);
    const auto b = rows_of<T>(call.b, call.b_transposed ? call.columns : call.depth,
                              call.b_transposed ? call.depth : call.columns);
    std::vector<T *> c(call.rows);
    for (int64_t i = 0; i < call.rows; ++i) c[i] = static_cast<T *>(call.c) + i * call.columns;
    Panels<P> panels(call.depth, call.columns);
    in_parallel(call.threads, [&](int thread, int threads) {
        share(panels.panels(), thread, threads, [&](int64_t j) { panels.fill({b.data(), !call.b_transposed}, j); });
    });
    in_parallel(call.threads, [&](int thread, int threads) {
        const int64_t first = call.rows * thread / threads, last = call.rows * (thread + 1) / threads;
        std::vector<const T *> mine(a);
        if (call.a_transposed)
            for (const T *&row : mine) row += first;
        Left<P> packed;
        multiply<P>({mine.data() + (call.a_transposed ? 0 : first), bool(call.a_transposed)}, last - first, panels,
                    static_cast<const T *>(call.bias), c.data() + first, packed);
    });
}

}  // namespace

rnnlab_packed *pack(const rnnlab_window &window) {
    rnnlab_packed *packed = nullptr;
    choose_arithmetic(window.arithmetic, [&](auto arithmetic) {
        using P = decltype(arithmetic);
        choose_cell<P>(window, [&](auto cell) { packed = new ForwardWeights<P, decltype(cell)>(window); });
    });
    return packed;
}
void forward(const rnnlab_window &window) {
    choose_arithmetic(window.arithmetic, [&](auto arithmetic) {
        using P = decltype(arithmetic);
        choose_cell<P>(window, [&](auto cell) {
            using Cell = decltype(cell);
            if (!window.packed && Token<P, Cell>::fits(window))
                Token<P, Cell>(window).run();
            else
                Forward<P, Cell>(window).run();
        });
    });
}
void backward(const rnnlab_window &window) {
    choose_arithmetic(window.arithmetic, [&](auto arithmetic) {
        using P = decltype(arithmetic);
        choose_cell<P>(window, [&](auto cell) { Backward<P, decltype(cell)>(window).run(); });
    });
}
void multiply(const rnnlab_product &call) {
    choose_arithmetic(call.arithmetic, [&](auto arithmetic) { product<decltype(arithmetic)>(call); });
}
void drop(const rnnlab_dropout &call) {
    if (call.arithmetic == RNNLAB_FLOAT64)
        drop<double>(call);
    else
        drop<float>(call);
}
void write(const rnnlab_text &call) {
    (void)call;
#if !defined(__AVX512BF16__)
    choose_cell<Float32>(call.layers[0], [&](auto cell) { *call.made = Text<decltype(cell)>(call).run(); });
#endif
}
void judge(const rnnlab_cross_entropy &call) {
    choose_arithmetic(call.arithmetic, [&](auto arithmetic) { CrossEntropy<decltype(arithmetic)>(call).run(); });
}

}  // namespace rnnlab::RNNLAB_ISA
