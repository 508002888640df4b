// Products of one operand tile with one panel of 32 columns. Sums are computed in float32 and returned as [pixel][32].
//
// A method M multiplies `words` of 32 bits: one channel in float32, or two in bfloat16.

// Weights of the next panel: a product prefetches `lines` of 64 bytes for each line of its depth.
struct Upcoming {
  const char* weights;
  int64_t lines;
};

// J pixels, N registers of columns
template <class M, int J, int N>
INVOLUTION_LOOP void multiply_tile(Factor<M> factor, const typename M::Stored* panel, int64_t column, int64_t depth,
                                   float* sums, Upcoming upcoming) {
  using Word = typename M::Word;
  constexpr int L = lanes<float>, line = Operand<M>::line, words = 64 / sizeof(Word);
  Vector<float> sum[J][N] = {};
  for (int64_t k = 0; k < depth; k += line, panel += line * kPanelColumns) {
    const Word* const a = reinterpret_cast<const Word*>(factor.at(k));
    for (int64_t i = 0; i < upcoming.lines; ++i, upcoming.weights += 64) __builtin_prefetch(upcoming.weights, 0, 2);
#pragma GCC unroll 2
    for (int i = 0; i < words; ++i) {
      Vector<Word> row[N];
      unroll<N>([&](auto n) { row[n] = M::weights(panel, i, column + n * L); });
      unroll<J>([&](auto j) {
        const Vector<Word> value = broadcast(a[j * words + i]);
        unroll<N>([&](auto n) { sum[j][n] = M::multiply_add(value, row[n], sum[j][n]); });
      });
    }
  }
  unroll<J>([&](auto j) { unroll<N>([&](auto n) { store(sums + j * kPanelColumns + n * L, sum[j][n]); }); });
}

// Two registers of columns at once where there are 32 registers, one where there are 16.
template <class M>
struct ByRegister {
  static constexpr int tile = kTile[0], step = tile;
  struct Registers {};  // of a thread

  static void multiply(Factor<M> a, const void* panel, int64_t depth, int64_t pixels, int64_t columns, float* sums,
                       Upcoming upcoming) {
    constexpr int L = lanes<float>, N = kRegister == 64 ? 2 : 1;
    for (int64_t n = 0; n < columns; n += N * L) {
      const bool whole = columns - n >= N * L;
      auto* const product = pixels > kTile[1] ? whole ? multiply_tile<M, kTile[0], N> : multiply_tile<M, kTile[0], 1>
                                              : whole ? multiply_tile<M, kTile[1], N> : multiply_tile<M, kTile[1], 1>;
      product(a, static_cast<const typename M::Stored*>(panel), n, depth, sums + n, upcoming);
    }
  }
};

// float32, or bfloat16 converted when it is read. Weights of two successive depths lie side by side in bfloat16.
template <class T>
struct Widened : ByRegister<Widened<T>> {
  using Stored = T;
  using Element = float;
  using Word = float;

  static Vector<float> weights(const T* panel, int64_t k, int64_t n) {
    if constexpr (__is_same(T, float)) {
      return load(panel + k * kPanelColumns + n);
    } else {
      const uint32_t* pairs = reinterpret_cast<const uint32_t*>(panel) + k / 2 * kPanelColumns + n;
      const BitsRegister bits = load<uint32_t>(pairs);
      return (Vector<float>)(k % 2 ? bits & 0xffff0000u : bits << 16);
    }
  }
  static Vector<float> multiply_add(Vector<float> a, Vector<float> b, Vector<float> sum) { return sum + a * b; }
};
