// Products of one operand tile with one panel of 32 columns. Sums are computed in float32 and returned as [pixel][32].

template <class E>
using Product = void (*)(Factor<E> a, const void* panel, int64_t depth, int64_t pixels, int64_t columns, float* sums);

// Weights of two successive depths lie side by side in bfloat16: pair k / 2, column n.
template <class W>
inline Vector<float> weight_register(const W* panel, int64_t k, int64_t n) {
  if constexpr (__is_same(W, float)) {
    return load(panel + k * kPanelColumns + n);
  } else {
    const uint32_t* pairs = reinterpret_cast<const uint32_t*>(panel) + k / 2 * kPanelColumns + n;
    const BitsRegister bits = load<uint32_t>(pairs);
    return (Vector<float>)(k % 2 ? bits & 0xffff0000u : bits << 16);
  }
}

// J pixels, N registers of columns
template <class W, int J, int N>
INVOLUTION_LOOP void multiply_tile(Factor<float> factor, const W* panel, int64_t depth, float* sums) {
  constexpr int L = lanes<float>, line = Operand<float>::line;
  Vector<float> sum[J][N] = {};
  for (int64_t k = 0; k < depth; k += line) {
    const float* const a = factor.at(k);
#pragma GCC unroll 2
    for (int i = 0; i < line; ++i) {
      Vector<float> row[N];
      unroll<N>([&](auto n) { row[n] = weight_register(panel, k + i, n * L); });
      unroll<J>([&](auto j) {
        const Vector<float> value = broadcast(a[j * line + i]);
        unroll<N>([&](auto n) { sum[j][n] += value * row[n]; });
      });
    }
  }
  unroll<J>([&](auto j) { unroll<N>([&](auto n) { store(sums + j * kPanelColumns + n * L, sum[j][n]); }); });
}

// Two registers of columns at once where there are 32 registers, one where there are 16.
template <class W>
void multiply_by_register(Factor<float> a, const void* panel, int64_t depth, int64_t pixels, int64_t columns,
                          float* sums) {
  constexpr int L = lanes<float>, N = kRegister == 64 ? 2 : 1;
  const W* weight = static_cast<const W*>(panel);
  constexpr int pair = __is_same(W, float) ? 1 : 2;
  for (int64_t n = 0; n < columns; n += N * L) {
    const bool whole = columns - n >= N * L;
    auto* const product = pixels > kTile[1] ? whole ? multiply_tile<W, kTile[0], N> : multiply_tile<W, kTile[0], 1>
                                            : whole ? multiply_tile<W, kTile[1], N> : multiply_tile<W, kTile[1], 1>;
    product(a, weight + n * pair, depth, sums + n);
  }
}
