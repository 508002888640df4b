// One register of T, and what the loops need of it. Included once per instruction set, inside its own namespace.

constexpr int kRegister = INVOLUTION_REGISTER_BYTES;

template <class T>
constexpr int lanes = kRegister / sizeof(T);

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kRegister)));
  typedef T unaligned __attribute__((vector_size(kRegister), aligned(sizeof(T)), may_alias));
};
template <class T>
using Vector = typename VectorOf<T>::type;

template <class T>
inline Vector<T> load(const T* p) {
  return *reinterpret_cast<const typename VectorOf<T>::unaligned*>(p);
}

template <class T>
inline void store(T* p, Vector<T> v) {
  *reinterpret_cast<typename VectorOf<T>::unaligned*>(p) = v;
}

template <class T>
inline Vector<T> broadcast(T value) {
  return value - Vector<T>{};  // one instruction, folded into the multiply-add that uses it
}

// f(Index<0>), f(Index<1>), ...: a loop whose counter is a constant, so that arrays indexed by it live in registers.
template <int I>
struct Index {
  static constexpr int value = I;
  constexpr operator int() const { return I; }
};

template <int N, int I = 0, class F>
inline __attribute__((always_inline)) void unroll(const F& f) {
  if constexpr (I < N) {
    f(Index<I>{});
    unroll<N, I + 1>(f);
  }
}

// The integer vector that indexes lanes of Vector<T>.
template <class T>
struct LaneOf;
template <>
struct LaneOf<float> {
  typedef int32_t type;
};
template <>
struct LaneOf<double> {
  typedef int64_t type;
};

// Interleave the blocks of `Width` lanes of a and b: (a0 b0 a2 b2 ...) and (a1 b1 a3 b3 ...), counted in blocks.
template <class T, int Width, int Odd>
inline Vector<T> interleave(Vector<T> a, Vector<T> b) {
  Vector<typename LaneOf<T>::type> index{};
  for (int lane = 0; lane < lanes<T>; ++lane) {
    const int block = lane / Width;
    const int source = (block & ~1) + Odd;
    index[lane] = source * Width + lane % Width + (block & 1 ? lanes<T> : 0);
  }
#if defined(__clang__)
  Vector<T> out{};
  for (int lane = 0; lane < lanes<T>; ++lane) out[lane] = index[lane] < lanes<T> ? a[index[lane]] : b[index[lane] - lanes<T>];
  return out;
#else
  return __builtin_shuffle(a, b, index);
#endif
}

// Transpose a square of registers in place, exchanging blocks of 1, 2, 4, ... lanes.
template <class T, int Width = 1>
inline void transpose(Vector<T>* rows) {
  if constexpr (Width < lanes<T>) {
    unroll<lanes<T>>([&](auto i) {
      if constexpr ((i.value & Width) == 0) {
        const Vector<T> a = rows[i], b = rows[i + Width];
        rows[i] = interleave<T, Width, 0>(a, b);
        rows[i + Width] = interleave<T, Width, 1>(a, b);
      }
    });
    transpose<T, Width * 2>(rows);
  }
}

// Lane i of the result is the sum of all lanes of rows[i], for `lanes` registers: a transposition that adds on its way.
template <class T, int Width = 1>
inline Vector<T> sum_lanes(Vector<T>* rows) {
  if constexpr (Width < lanes<T>) {
    unroll<lanes<T>>([&](auto i) {
      if constexpr (i.value % (2 * Width) == 0) {
        const Vector<T> a = rows[i], b = rows[i + Width];
        rows[i] = interleave<T, Width, 0>(a, b) + interleave<T, Width, 1>(a, b);
      }
    });
    return sum_lanes<T, Width * 2>(rows);
  } else {
    return rows[0];
  }
}
