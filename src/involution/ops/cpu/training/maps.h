// Maps that no cache holds.

constexpr int64_t kCachedMap = 16 << 20;  // bytes
constexpr int64_t kAhead = 1024;          // floats between the one that is read and the one that is prefetched

inline void prefetch(const float* row, int64_t count) {
  for (int64_t k = 0; k < count; k += 16) __builtin_prefetch(row + k, 0, 2);
}

// The rows of a map that is written. A large one goes past the caches: they would read each line before they change it.
struct WrittenRows {
  const int64_t columns;
  const bool past;

  WrittenRows(const float* map, int64_t count, int64_t columns)
      : columns(columns),
        past(count * columns * int64_t(sizeof(float)) > kCachedMap && columns % lanes<float> == 0 &&
             reinterpret_cast<uintptr_t>(map) % kRegister == 0) {}

  void put(float* to, Vector<float> v) const { past ? stream(to, v) : store(to, v); }
  // Where to compute a row of the map: in place, or in `line`, from which `put` writes it.
  float* place(float* row, float* line) const { return past ? line : row; }
  void put(float* row, const float* line) const {
    for (int64_t k = 0; past && k < columns; k += lanes<float>) stream(row + k, load(line + k));
  }
};
