// The C interface: chooses the instruction set and keeps exceptions inside.
#include <cstring>
#include <new>

#include "engine_sets.hpp"

namespace {

struct InstructionSet {
    const char *name;
    rnnlab_packed *(*pack)(const rnnlab_window &);
    void (*forward)(const rnnlab_window &);
    void (*backward)(const rnnlab_window &);
    void (*multiply)(const rnnlab_product &);
    void (*judge)(const rnnlab_cross_entropy &);
    void (*drop)(const rnnlab_dropout &);
    void (*write)(const rnnlab_text &);
};

const InstructionSet sets[] = {
#define X(name)                                                                                                        \
    {#name,                                                                                                            \
     rnnlab::name::pack,                                                                                               \
     rnnlab::name::forward,                                                                                            \
     rnnlab::name::backward,                                                                                           \
     rnnlab::name::multiply,                                                                                           \
     rnnlab::name::judge,                                                                                              \
     rnnlab::name::drop,                                                                                               \
     rnnlab::name::write},
    RNNLAB_SETS
#undef X
};

bool processor_has(const char *name) {
    if (!std::strcmp(name, "portable")) return true;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!std::strcmp(name, "avx2")) return avx2;
    if (!std::strcmp(name, "avx512")) return avx512;
    if (!std::strcmp(name, "avx512bf16")) return avx512 && __builtin_cpu_supports("avx512bf16");
#endif
    return false;
}

// The set by this name, if this build and processor have it.
const InstructionSet *find(const char *name) {
    for (const InstructionSet &set : sets)
        if (!std::strcmp(set.name, name) && processor_has(name)) return &set;
    return nullptr;
}

constexpr char native_bfloat16[] = "avx512bf16";

const InstructionSet *best() {
    for (const InstructionSet &set : sets)
        if (std::strcmp(set.name, native_bfloat16) && processor_has(set.name)) return &set;
    return nullptr;  // not reached: every build holds "portable"
}

const InstructionSet *&chosen() {
    static const InstructionSet *set = best();
    return set;
}

const InstructionSet *set_for(int32_t arithmetic) {
    if (arithmetic != RNNLAB_BFLOAT16) return chosen();
    const InstructionSet *native = find(native_bfloat16);
    return native ? native : find("portable");
}

// An exception must not leave the C interface; the only one the engine throws is for want of memory.
template <class Call> int guarded(Call call) {
    try {
        call();
        return 0;
    } catch (const std::bad_alloc &) {
        return 1;
    }
}

}  // namespace

extern "C" {

int rnnlab_interface(void) {
    return RNNLAB_ENGINE_INTERFACE;
}
const char *rnnlab_instruction_set(void) {
    return chosen()->name;
}

int rnnlab_has_bfloat16(void) {
    return find(native_bfloat16) != nullptr;
}

int rnnlab_use_instruction_set(const char *name) {
    const InstructionSet *set = name ? find(name) : best();
    if (!set) return 1;
    chosen() = set;
    return 0;
}

rnnlab_packed *rnnlab_pack(const rnnlab_window *window) {
    rnnlab_packed *packed = nullptr;
    guarded([&] {
        const InstructionSet *set = set_for(window->arithmetic);
        packed = set->pack(*window);
        packed->set = set;
    });
    return packed;
}
void rnnlab_free(rnnlab_packed *packed) {
    delete packed;
}

int rnnlab_forward(const rnnlab_window *window) {
    const InstructionSet *set = set_for(window->arithmetic);
    if (window->packed && (window->packed->set != set || !window->packed->fits(*window))) return 2;
    return guarded([&] { set->forward(*window); });
}
int rnnlab_backward(const rnnlab_window *window) {
    return guarded([&] { set_for(window->arithmetic)->backward(*window); });
}
int rnnlab_multiply(const rnnlab_product *call) {
    return guarded([&] { set_for(call->arithmetic)->multiply(*call); });
}
int rnnlab_judge(const rnnlab_cross_entropy *call) {
    return guarded([&] { set_for(call->arithmetic)->judge(*call); });
}
int rnnlab_drop(const rnnlab_dropout *call) {
    return guarded([&] { chosen()->drop(*call); });
}
int rnnlab_write(const rnnlab_text *call) {
    return guarded([&] { chosen()->write(*call); });
}

}  // extern "C"
