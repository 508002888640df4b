// One register of T and its operations in the loops. Included once per instruction set, inside its own namespace.

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

// Store past the caches, to an address that is a multiple of a register. Other threads see it after `finish_streams`.
inline void stream(float* p, Vector<float> v) {
#if defined(INVOLUTION_STREAM)
  INVOLUTION_STREAM(p, v);
#else
  store(p, v);
#endif
}

inline void finish_streams() {
#if defined(INVOLUTION_STREAM)
  _mm_sfence();
#endif
}

template <class T>
inline Vector<T> broadcast(T value) {
  return value - Vector<T>{};  // one instruction, folded into the multiply-add that uses it
}

// f(Index<0>), f(Index<1>), ...: a loop whose counter is a constant, so that arrays indexed by it stay in registers.
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

// Lanes of two registers, picked by From::lane(i): below `lanes` from a, else from b.
template <class T, class From>
inline Vector<T> pick(Vector<T> a, Vector<T> b) {
#if defined(__clang__)
  Vector<T> out{};
  for (int i = 0; i < lanes<T>; ++i) out[i] = From::lane(i) < lanes<T> ? a[From::lane(i)] : b[From::lane(i) - lanes<T>];
  return out;
#else
  Vector<typename LaneOf<T>::type> index{};
  for (int i = 0; i < lanes<T>; ++i) index[i] = From::lane(i);
  return __builtin_shuffle(a, b, index);
#endif
}

// Blocks of `Width` lanes: a0 b0 a2 b2 ... or, if Odd, a1 b1 a3 b3 ...
template <class T, int Width, int Odd>
struct Interleaved {
  static constexpr int lane(int i) {
    const int block = i / Width;
    return ((block & ~1) + Odd) * Width + i % Width + (block & 1 ? lanes<T> : 0);
  }
};

// Blocks of `Width` lanes, in every `Group` of blocks: a0 a2 b0 b2 or, if Odd, a1 a3 b1 b3. With blocks of one lane or
// of 16 bytes these are the cheap shuffles of x86.
template <class T, int Width, int Group, int Odd>
struct Halves {
  static constexpr int lane(int i) {
    const int block = i / Width % Group, half = Group / 2;
    const int source = block % half * 2 + Odd;
    return i / (Width * Group) * (Width * Group) + source * Width + i % Width + (block >= half ? lanes<T> : 0);
  }
};

// a0 b0 a1 b1 ... of the first halves or, if Second, of the second ones.
template <class T, int Second>
struct InTurns {
  static constexpr int lane(int i) { return (Second * lanes<T> + i) / 2 + (i & 1 ? lanes<T> : 0); }
};

// The first halves of a and b.
template <class T>
struct LowHalves {
  static constexpr int lane(int i) { return i < lanes<T> / 2 ? i : i + lanes<T> / 2; }
};

// Transpose a square of registers in place, exchanging blocks of 1, 2, 4, ... lanes.
template <class T, int Width = 1>
inline void transpose(Vector<T>* rows) {
  if constexpr (Width < lanes<T>) {
    unroll<lanes<T>>([&](auto i) {
      if constexpr ((i.value & Width) == 0) {
        const Vector<T> a = rows[i], b = rows[i + Width];
        rows[i] = pick<T, Interleaved<T, Width, 0>>(a, b);
        rows[i + Width] = pick<T, Interleaved<T, Width, 1>>(a, b);
      }
    });
    transpose<T, Width * 2>(rows);
  }
}

// Lane i of the result is the sum of all lanes of rows[i], for `lanes` registers: neighbours are added pair by pair,
// first inside 16 bytes, then across them.
template <class T, int Rows = lanes<T>>
inline Vector<T> sum_lanes(Vector<T>* rows) {
  if constexpr (Rows == 1) {
    return rows[0];
  } else {
    constexpr int inside = 16 / sizeof(T), outside = lanes<T> / inside;
    constexpr bool within = Rows > outside;
    constexpr int width = within ? 1 : inside, group = within ? inside : outside;
    unroll<Rows / 2>([&](auto i) {
      const Vector<T> a = rows[2 * i], b = rows[2 * i + 1];
      rows[i] = pick<T, Halves<T, width, group, 0>>(a, b) + pick<T, Halves<T, width, group, 1>>(a, b);
    });
    return sum_lanes<T, Rows / 2>(rows);
  }
}

// The lanes i + Half, so that a register is added to its other half.
template <class T, int Half>
struct Rotated {
  static constexpr int lane(int i) { return (i + Half) % lanes<T>; }
};

// The sum of all lanes of one register.
template <class T, int Half = lanes<T> / 2>
inline T sum(Vector<T> v) {
  if constexpr (Half) return sum<T, Half / 2>(v + pick<T, Rotated<T, Half>>(v, v));
  else return v[0];
}
