// Scratch memory of a pass, and the arithmetic of its sizes.

// A bump allocator of scratch memory; from null it only counts bytes.
struct Arena {
  char* next;
  template <class T>
  T* take(int64_t count) {
    T* const piece = reinterpret_cast<T*>(next);
    next += (count * sizeof(T) + 63) / 64 * 64;
    return piece;
  }
  // Bytes counted from null.
  int64_t counted() const { return reinterpret_cast<intptr_t>(next); }
};

template <class M>
inline Operand<M> take_operand(Arena& arena, int64_t pixels, int64_t depth) {
  return {arena.take<typename M::Element>(Operand<M>::size(pixels, depth)), depth};
}

inline int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

inline int64_t panels(const Matrix& m) { return (m.columns + kPanelColumns - 1) / kPanelColumns; }
