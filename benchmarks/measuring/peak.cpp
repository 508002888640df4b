// Multiply-adds on registers only: an upper bound for all code on this processor.
#include <cstdint>

#if defined(__AVX512F__)
constexpr int width = 16, accumulators = 24;
#elif defined(__AVX__)
constexpr int width = 8, accumulators = 12;
#else
constexpr int width = 4, accumulators = 24;
#endif
typedef float vector __attribute__((vector_size(4 * width)));

// Returns the number of multiply-adds. The sums are written to `out` so that none is optimized away.
extern "C" int64_t multiply_add(int64_t rounds, float factor, float term, float* out) {
  vector sums[accumulators], factors, terms;
  for (int lane = 0; lane < width; ++lane) factors[lane] = factor, terms[lane] = term;
  for (auto& sum : sums) sum = terms;
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 24
    for (int i = 0; i < accumulators; ++i) {
      sums[i] = sums[i] * factors + terms;
      asm volatile("" : : : );  // keeps rounds from being merged
    }
  }
  vector total = sums[0];
  for (int i = 1; i < accumulators; ++i) total += sums[i];
  for (int lane = 0; lane < width; ++lane) out[lane] = total[lane];
  return rounds * accumulators * width;
}
