// Softmax over the taps of a window, for the pixels of a line.

// Of e^x = 2^n e^r with x = n log(2) + r and |r| <= log(2) / 2.
template <class T>
struct Exponential {
  static constexpr bool wide = sizeof(T) == 8;
  static constexpr int mantissa = wide ? 52 : 23, bias = wide ? 1023 : 127;
  static constexpr int degree = wide ? 13 : 7;  // of the Taylor polynomial of e^r
  static constexpr T least = wide ? -708 : -87;  // from here on e^x is a normal number
  // Added to a number, it leaves the nearest integer, which is then in the last bits.
  static constexpr T round = T(3) * (int64_t(1) << (mantissa - 1));
  // log(2) in two summands: n times the first is exact.
  static constexpr T high = wide ? 6.93145751953125e-1 : 0.693359375;
  static constexpr T low = wide ? 1.42860682030941723212e-6 : -2.12194440054690583e-4;

  static constexpr T coefficient(int k) {
    T factorial = 1;
    for (; k > 1; --k) factorial *= k;
    return 1 / factorial;
  }
};

// e^x for x <= 0; zero below the smallest normal number.
template <class T>
inline Vector<T> exponential(Vector<T> x) {
  typedef Exponential<T> E;
  typedef Vector<typename LaneOf<T>::type> Bits;
  const Vector<T> rounded = x * T(1.44269504088896340736) + E::round, n = rounded - E::round;
  const Vector<T> r = x - n * E::high - n * E::low;
  Vector<T> y = Vector<T>{} + E::coefficient(E::degree);
  unroll<E::degree>([&](auto i) { y = y * r + E::coefficient(E::degree - 1 - i.value); });
  const Bits power = ((Bits)rounded + E::bias) << E::mantissa;
  return x < E::least ? Vector<T>{} : y * (Vector<T>)power;  // a NaN stays
}

template <class T>
inline Vector<T> larger(Vector<T> a, Vector<T> b) {
  return a > b ? a : b;
}

// From lines of scores to lines of taps
template <class T>
INVOLUTION_LOOP void softmax_lines(const T* scores, int64_t score, T* taps, int64_t tap, int64_t count, int64_t width) {
  for (int64_t j = 0; j < width; j += lanes<T>) {
    Vector<T> top = load(scores + j), sum{};
    for (int64_t t = 1; t < count; ++t) top = larger<T>(load(scores + t * score + j), top);
    for (int64_t t = 0; t < count; ++t) {
      const Vector<T> e = exponential<T>(load(scores + t * score + j) - top);
      store(taps + t * tap + j, e);
      sum += e;
    }
    const Vector<T> share = 1 / sum;
    for (int64_t t = 0; t < count; ++t) store(taps + t * tap + j, load(taps + t * tap + j) * share);
  }
}
