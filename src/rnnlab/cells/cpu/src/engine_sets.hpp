// The instruction sets that a build may hold. RNNLAB_SETS lists them, the best first, as X(name).
#pragma once
#include "engine.h"

#define X(name)                                                                                                        \
    namespace rnnlab::name {                                                                                           \
    void forward(const rnnlab_window &window);                                                                         \
    void backward(const rnnlab_window &window);                                                                        \
    void multiply(const rnnlab_product &call);                                                                         \
    }
RNNLAB_SETS
#undef X
