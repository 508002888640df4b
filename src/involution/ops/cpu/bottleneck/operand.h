// The left factor of a product: some pixels, each with `depth` channels.
//
// It is stored in the order in which a product reads it: 64 bytes of channels of one pixel, then of the next, for
// a tile of pixels; then their next 64 bytes of channels. So every load of the inner loop has a constant offset, and no
// two lines of a tile fall into the same set of a cache, whatever the number of channels.

constexpr int kPanelColumns = 32;

#if defined(__x86_64__) && INVOLUTION_REGISTER_BYTES == 64
#define INVOLUTION_HAS_PAIRS 1  // instructions for bfloat16 may exist, see pairs.h
#endif

// M is one of the methods in products.h and pairs.h. It names the elements of the operand (`Element`), the dtype in memory
// (`Stored`), the pixels of a tile of the operand (`tile`) and of one product (`step`).
template <class M>
struct Operand {
  using E = typename M::Element;
  static constexpr int line = 64 / sizeof(E), tile = M::tile, step = M::step;  // line: channels
  E* data;
  int64_t depth;

  static int64_t size(int64_t pixels, int64_t depth) { return (pixels + step - 1) / step * step * depth; }
  E* at(int64_t pixel, int64_t channel) const {
    return data + pixel / tile * tile * depth + (channel / line * tile + pixel % tile) * line + channel % line;
  }
};

// What a product reads: a tile of an operand, or with `lines` pixels that lie anywhere, 64 bytes apart, the channels
// from k on at data + lines[k / line]. The second tile of a step is `next` elements behind the first.
template <class M>
struct Factor {
  const typename M::Element* data;
  int64_t next;
  const int64_t* lines = nullptr;
  const auto* at(int64_t k) const { return data + (lines ? lines[k / Operand<M>::line] : k * M::tile); }
};

typedef uint16_t HalfRegister __attribute__((vector_size(kRegister / 2)));
typedef uint16_t HalfRegisterUnaligned __attribute__((vector_size(kRegister / 2), aligned(2), may_alias));
typedef uint32_t BitsRegister __attribute__((vector_size(kRegister)));

// One register of channels, from and to memory of either type.
inline Vector<float> read_register(const float* p) { return load(p); }
inline Vector<float> read_register(const bfloat16* p) {
  const HalfRegister bits = *reinterpret_cast<const HalfRegisterUnaligned*>(p);
  return (Vector<float>)(__builtin_convertvector(bits, BitsRegister) << 16);
}
template <class E>
inline void write_register(float* p, Vector<float> v) {
  store(p, v);
}
// E is bfloat16 only where the processor has bfloat16 instructions.
template <class E>
inline void write_register(bfloat16* p, Vector<float> v) {
#if INVOLUTION_HAS_PAIRS
  if constexpr (__is_same(E, bfloat16)) {
    HalfRegister narrowed;
    asm("vcvtneps2bf16 %1, %0" : "=v"(narrowed) : "v"(v));
    *reinterpret_cast<HalfRegisterUnaligned*>(p) = narrowed;
    return;
  }
#endif
  const BitsRegister bits = (BitsRegister)v;
  const BitsRegister rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // to nearest, ties to even
  const BitsRegister nan = (BitsRegister)(v != v);
  *reinterpret_cast<HalfRegisterUnaligned*>(p) =
      __builtin_convertvector((rounded & ~nan) | (nan & 0x7fc0), HalfRegister);
}

inline Vector<float> relu(Vector<float> v) {
  const Vector<float> zero{};
  return v < zero ? zero : v;  // NaN stays NaN
}
