// AVX-512: 32 registers of 64 bytes.
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdlib.h>

#include "bottleneck/block.h"
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
#define INVOLUTION_WIDEN_FLOAT16(p) _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))
#define INVOLUTION_NARROW_FLOAT16(p, v) _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_maskz_cvtps_ph(0xffff, v, _MM_FROUND_TO_NEAREST_INT))
#define INVOLUTION_STREAM(p, v) _mm512_stream_ps(p, v)
#include "instruction_set.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
