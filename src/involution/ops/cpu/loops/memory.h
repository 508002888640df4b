// Memory of one thread.

// The product of sizes, or the largest number if that is too large.
template <class... Sizes>
inline int64_t product(Sizes... sizes) {
  int64_t result = 1;
  const bool overflow = (__builtin_mul_overflow(result, int64_t(sizes), &result) || ...);
  return overflow ? INT64_MAX : result;
}

inline int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

#ifdef __SANITIZE_ADDRESS__
extern "C" void __asan_poison_memory_region(const volatile void*, size_t);
extern "C" void __asan_unpoison_memory_region(const volatile void*, size_t);
#endif

// `count` elements, if any, from an address that vectors are aligned to. The system supplies zero pages on demand:
// elements that are never written take no memory.
template <class T>
struct Scratch {
  void* base = nullptr;
  T* data = nullptr;

  explicit Scratch(int64_t count, bool zeros = false) {
    if (!count) return;
    const int64_t bytes = product(count, sizeof(T)), room = 128;  // a register, and one read beyond the end
    if (bytes <= INT64_MAX - room) base = zeros ? ::calloc(bytes + room, 1) : ::malloc(bytes + room);
    if (!base) throw OutOfMemory{bytes};
    data = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(base) + 63) / 64 * 64);
#ifdef __SANITIZE_ADDRESS__
    __asan_poison_memory_region(base, bytes + room);
    __asan_unpoison_memory_region(data, bytes);
#endif
  }
  ~Scratch() { ::free(base); }
  Scratch(const Scratch&) = delete;
};
