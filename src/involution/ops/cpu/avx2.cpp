// AVX2 with fused multiply-add: 16 registers of 32 bytes.
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdlib.h>

#include "bottleneck/block.h"
#include "image.h"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif
#define INVOLUTION_NAME avx2
#define INVOLUTION_STRING(name) "avx2"
#define INVOLUTION_REGISTER_BYTES 32
#define INVOLUTION_WIDE_TILE 7
#define INVOLUTION_WIDEN_FLOAT16(p) _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))
#define INVOLUTION_NARROW_FLOAT16(p, v) _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT))
#define INVOLUTION_STREAM(p, v) _mm256_stream_ps(p, v)
#include "instruction_set.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
