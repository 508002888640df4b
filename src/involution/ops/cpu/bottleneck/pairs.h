// Products in bfloat16 with dedicated instructions, which multiply two depths at once. Not every processor with
// AVX-512 has them: binding.cpp checks. Written as assembly, because that needs no other compiler target for this file.

#if INVOLUTION_HAS_PAIRS

// AVX512-BF16: a pair of depths of one pixel is one number to broadcast.
struct Dotted : ByRegister<Dotted> {
  using Stored = bfloat16;
  using Element = bfloat16;
  using Word = uint32_t;

  static Vector<uint32_t> weights(const bfloat16* panel, int64_t pair, int64_t n) {
    return load(reinterpret_cast<const uint32_t*>(panel) + pair * kPanelColumns + n);
  }
  // The sum is a value, because an operand of `asm` that is an element of an array would stay in memory.
  static Vector<float> multiply_add(Vector<uint32_t> a, Vector<uint32_t> b, Vector<float> sum) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(b), "v"(a));
    return sum;
  }
};

// AMX: eight registers of 16 rows of 64 bytes. Tiles 0 to 3 sum 2 x 16 pixels by 2 x 16 columns; 4 and 5 hold pixels, 6
// and 7 weights.
#define INVOLUTION_TILE_LOAD(tile, from, stride) \
  asm volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(from), "r"(int64_t(stride)) : "memory")
#define INVOLUTION_TILE_STORE(tile, to, stride) \
  asm volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(to), "r"(int64_t(stride)) : "memory")
#define INVOLUTION_TILE_MULTIPLY(sum, pixels, weights) \
  asm volatile("tdpbf16ps %%tmm" #weights ", %%tmm" #pixels ", %%tmm" #sum ::)
#define INVOLUTION_TILE_ZERO(tile) asm volatile("tilezero %%tmm" #tile ::)

struct Tiled {
  using Stored = bfloat16;
  using Element = bfloat16;
  static constexpr int tile = 16, step = 2 * tile;
  // A thread configures its tiles before the products and releases them afterwards.
  struct Registers {
    Registers() {
      struct {
        uint8_t palette = 1, start = 0, reserved[14] = {};
        uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
        uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
      } const all;
      static_assert(sizeof(all) == 64);
      asm volatile("ldtilecfg %0" ::"m"(all) : "memory");
    }
    ~Registers() { asm volatile("tilerelease" ::: "memory"); }
  };

  static void multiply(Factor<Tiled> a, const void* panel, int64_t depth, int64_t pixels, int64_t columns, float* sums,
                       Upcoming) {
    constexpr int line = Operand<Tiled>::line, sums_row = kPanelColumns * 4;
    const bool more_pixels = pixels > tile, more_columns = columns > 16;
    const bfloat16* weights = static_cast<const bfloat16*>(panel);
    INVOLUTION_TILE_ZERO(0);
    INVOLUTION_TILE_ZERO(1);
    INVOLUTION_TILE_ZERO(2);
    INVOLUTION_TILE_ZERO(3);
    for (int64_t k = 0; k < depth; k += line) {
      const bfloat16* const pixel = a.at(k);
      INVOLUTION_TILE_LOAD(4, pixel, 64);
      INVOLUTION_TILE_LOAD(6, weights + k * kPanelColumns, kPanelColumns * 4);
      INVOLUTION_TILE_MULTIPLY(0, 4, 6);
      if (more_columns) {
        INVOLUTION_TILE_LOAD(7, weights + k * kPanelColumns + 32, kPanelColumns * 4);
        INVOLUTION_TILE_MULTIPLY(1, 4, 7);
      }
      if (more_pixels) {
        INVOLUTION_TILE_LOAD(5, pixel + a.next, 64);
        INVOLUTION_TILE_MULTIPLY(2, 5, 6);
        if (more_columns) INVOLUTION_TILE_MULTIPLY(3, 5, 7);
      }
    }
    INVOLUTION_TILE_STORE(0, sums, sums_row);
    INVOLUTION_TILE_STORE(1, sums + 16, sums_row);
    INVOLUTION_TILE_STORE(2, sums + tile * kPanelColumns, sums_row);
    INVOLUTION_TILE_STORE(3, sums + tile * kPanelColumns + 16, sums_row);
  }
};

#undef INVOLUTION_TILE_LOAD
#undef INVOLUTION_TILE_STORE
#undef INVOLUTION_TILE_MULTIPLY
#undef INVOLUTION_TILE_ZERO
#endif
