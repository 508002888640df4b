// AVX-512: 32 registers of 64 bytes.
#if defined(__x86_64__)
#include <stdlib.h>

#include "image.h"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif
#define INVOLUTION_NAME avx512
#define INVOLUTION_STRING(name) "avx512"
#define INVOLUTION_REGISTER_BYTES 64
#define INVOLUTION_WIDE_TILE 14
#include "instruction_set.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
