// The instruction sets that a build may hold. RNNLAB_SETS lists them, the best first, as X(name).
#pragma once
#include "engine.h"

// What every set's packed weights have in common.
struct rnnlab_packed {
    const void *set = nullptr;  // whose they are; engine.cpp fills it in
    int32_t cell, arithmetic;
    int64_t input_size, hidden_size;

    explicit rnnlab_packed(const rnnlab_window &w)
        : cell(w.cell), arithmetic(w.arithmetic), input_size(w.input_size), hidden_size(w.hidden_size) {}
    virtual ~rnnlab_packed() = default;
    bool fits(const rnnlab_window &w) const {
        return cell == w.cell && arithmetic == w.arithmetic && input_size == w.input_size &&
               hidden_size == w.hidden_size;
    }
};

#define X(name)                                                                                                        \
    namespace rnnlab::name {                                                                                           \
    rnnlab_packed *pack(const rnnlab_window &window);                                                                  \
    void forward(const rnnlab_window &window);                                                                         \
    void backward(const rnnlab_window &window);                                                                        \
    void multiply(const rnnlab_product &call);                                                                         \
    void judge(const rnnlab_cross_entropy &call);                                                                      \
    void drop(const rnnlab_dropout &call);                                                                             \
    void write(const rnnlab_text &call);                                                                               \
    }
RNNLAB_SETS
#undef X
