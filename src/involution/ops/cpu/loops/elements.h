// The dtypes of memory and the conversion to and from the accumulation type.

struct bfloat16 {
  uint16_t bits;
};

// IEEE binary16. Older compilers lack the type: the conversion is an instruction of the set, else integer arithmetic.
struct float16 {
  uint16_t bits;
};

inline uint32_t bits_of(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}

inline float float_of(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

inline float widen(float e) { return e; }
inline double widen(double e) { return e; }
inline float widen(bfloat16 e) { return float_of(uint32_t(e.bits) << 16); }
inline float widen(float16 e) {
  const uint32_t sign = uint32_t(e.bits & 0x8000) << 16, magnitude = uint32_t(e.bits & 0x7fff) << 13;
  // A subnormal value is computed by adding its bits to 2^-14 and subtracting 2^-14. The exponent bias: 15 to 127.
  const uint32_t small = bits_of(float_of(magnitude + (113u << 23)) - float_of(113u << 23));
  const uint32_t normal = magnitude + (112u << 23), infinite = magnitude + (224u << 23);
  const uint32_t bits = magnitude < (1u << 23) ? small : magnitude < (31u << 23) ? normal : infinite;
  return float_of(bits | sign);
}

// To nearest, ties to even; every NaN becomes the quiet NaN.
template <class E>
inline E narrow(float value) {
  const uint32_t bits = bits_of(value);
  if constexpr (__is_same(E, bfloat16)) {
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return {uint16_t(value != value ? 0x7fc0 : rounded)};
  } else if constexpr (__is_same(E, float16)) {
    const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    // Below 2^-14 the unit in the last place is 2^-24, as it is of floats from 0.5 on: the addition rounds.
    const uint32_t small = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
    const uint32_t normal = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    const uint32_t large = magnitude > (255u << 23) ? 0x7e00 : 0x7c00;
    const uint32_t rounded = magnitude < (113u << 23) ? small : magnitude < 0x477ff000 ? normal : large;
    return {uint16_t(rounded | sign)};
  } else {
    return value;
  }
}
template <class E>
inline double narrow(double value) {
  return value;
}

template <class T, class E>
inline Vector<T> load_widened(const E* p) {
  if constexpr (__is_same(E, T)) {
    return load(p);
#ifdef INVOLUTION_WIDEN_FLOAT16
  } else if constexpr (__is_same(E, float16)) {
    return INVOLUTION_WIDEN_FLOAT16(p);
#endif
  } else {
    T values[lanes<T>];
    for (int lane = 0; lane < lanes<T>; ++lane) values[lane] = widen(p[lane]);
    return load(values);
  }
}

template <class T, class E>
inline void store_narrowed(E* p, Vector<T> v) {
  if constexpr (__is_same(E, T)) {
    store(p, v);
#ifdef INVOLUTION_NARROW_FLOAT16
  } else if constexpr (__is_same(E, float16)) {
    INVOLUTION_NARROW_FLOAT16(p, v);
#endif
  } else {
    T values[lanes<T>];
    store(values, v);
    for (int lane = 0; lane < lanes<T>; ++lane) p[lane] = narrow<E>(values[lane]);
  }
}
