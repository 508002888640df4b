// The forward spanned involution in bfloat16 or float16, channels last: both its products on the tensor cores.
//
// Shown without a GPU: the values of this source, compiled for the CPU with tests/ops/band/emulated.h in place of
// warp.cuh, against float64; the machine code, compiled for sm_80 and sm_90 and counted (docs/gpu.md). Not shown: that
// it runs on a GPU, and how fast. It is therefore used only where INVOLUTION_TENSOR_CORES=1 asks for it.
//
// Eight outputs that use neighbouring pixels of x through the same tap read at most 16 columns through one row of the
// window. Let band[j, n] be the tap through which output n reads column j, zero where there is none. One instruction
// m16n8k16 then adds x[channel, j] · band[j, n] to 16 channels of 8 outputs.
//
// Taps come from a second m16n8k16: 16 outputs, two such eights, times 8 taps, for 16 features. Its result leaves taps
// t and t + 4 of output n in lane 4·n + t, and the band wants columns t, t + 4, t + 8 and t + 12 of output n there. The
// tap of column j is j - n: lane (t - n) mod 4 of the same four has both taps that are not zero. A band thus costs one
// shuffle and two byte permutations. Columns take this order for free: ldmatrix gets one address for each.
//
// Unlike in the Triton programs, kernels are rounded to the type of x, as stored kernels are. A value of x that is not
// finite can turn other outputs of its row into NaN, because bands multiply it by zero.
//
// Stride S and dilation D of an axis are reduced by their greatest common divisor g. Outputs D/g apart read inputs in
// steps of D: output n reads input T·n + v through tap v, with T = S/g. For T = 2, inputs and taps split into even and
// odd, and a row takes two bands. Along both axes, tiles hold outputs of one remainder modulo D/g.
//
// Constants of the compilation: KH, KW: the window, KW at most 8. TY, TX: T of each axis, TX at most 2. ROWS: rows of
// outputs of a warp. WIDTH: channels of a block, 8 or 16, all of one group. FEATURES: a multiple of 16. NARROW: the
// second eight outputs of a row belong to the next image. BIASED, BFLOAT16.

constexpr int WARPS = 4;
constexpr int HALVES = NARROW ? 4 : 3;                       // eights of columns that 16 outputs read, of each parity
constexpr int STEP = NARROW ? 2 : 1;                         // of halves, from the first eight outputs to the second
constexpr int COLUMNS = TX * HALVES * 8;                     // of x in shared memory; the even ones first if TX = 2
constexpr int CHUNKS = WIDTH / 8;                            // 16 bytes of channels each
constexpr int LINE = COLUMNS * CHUNKS;                       // chunks of a row of x
constexpr int LINES = TY * (WARPS * ROWS - 1) + KH;          // rows of x
constexpr int WINDOW_LINES = TY * (ROWS - 1) + KH;           // those of one warp
constexpr int PARTS = (LINE + 31) / 32;                      // chunks of a row that a lane copies
constexpr int PITCH = FEATURES / 8 + 1;                      // chunks of a tap's weights; odd, against bank conflicts
constexpr int BUFFER = LINES * LINE + (KH * KW + 8) * PITCH; // chunks; the products read up to 8 taps too many
constexpr int PRODUCTS = FEATURES / 16;

struct Sizes {
  int B, C, D, R, H, W, Ho, Wo;     // D: channels of a group; R: features
  int SH, SW, PH, PW, DH, DW;       // stride, padding, dilation
  int PY, PX, tiles_y, tiles_x;     // distance of neighbouring outputs of a tile; tiles of each remainder
  int blocks;                       // of channels, for each program
};

// What tells tap v from its slot in a product: 0 4 1 5 2 6 3 7, or 0 1 2 3 ... if the taps split into even and odd.
device int tap_of_slot(int slot) { return TX == 1 ? slot / 2 + slot % 2 * 4 : slot; }

// The column of an eight that a slot of the band stands for.
device int column_of_slot(int slot) { return slot / 2 + slot % 2 * 4; }

// The permutation of bytes that turns a pair of taps into columns first and first + 4 of the band of output n.
device unsigned permutation(int n, int first, int parity) {
  unsigned bytes = 0;
  for (int high = 0; high < 2; ++high) {
    int q = first + 4 * high - n, v = TX * q + parity;
    unsigned half = q < 0 || v >= KW ? 0x44 : (TX == 1 ? q >= 4 : parity) ? 0x32 : 0x10;
    bytes |= half << 8 * high;
  }
  return bytes;
}

struct Program {
  const Bits *x, *weight;
  Sizes s;
  int warp, lane, image, top, left;
  int from[PARTS];  // where this lane's chunks of a row begin in an image, from its first one; negative: outside

  // Begin to copy x and the weights of a block of channels to shared memory.
  device void copy(Chunk* buffer, int channel) const {
    const Bits* first = x + (size_t)image * s.H * s.W * s.C + channel;
#pragma unroll 1
    for (int line = warp; line < LINES; line += WARPS) {
      int row = top + line * s.DH;
      bool inside = row >= 0 && row < s.H;
      const Bits* here = first + row * s.W * s.C;
#pragma unroll
      for (int part = 0; part < PARTS; ++part) {
        int i = part * 32 + lane, column = i / CHUNKS;
        int place = column * CHUNKS + (i ^ column >> 2) % CHUNKS;  // neighbours of ldmatrix in different banks
        bool exists = inside && from[part] >= 0;
        if (i < LINE) copy_async(buffer + line * LINE + place, exists ? here + from[part] : x, exists);
      }
    }
    const Bits* taps = weight + (size_t)(channel / s.D) * (KH * KW) * s.R;
#pragma unroll 1
    for (int i = warp * 32 + lane; i < KH * KW * (PITCH - 1); i += WARPS * 32) {
      int tap = i / (PITCH - 1), r = i % (PITCH - 1) * 8;
      bool exists = r < s.R;
      copy_async(buffer + LINES * LINE + tap * PITCH + r / 8, exists ? taps + tap * s.R + r : weight, exists);
    }
    end_of_copy();
  }
};

kernel void band(Bits* y, const Bits* x, const Bits* reduced, const Bits* weight, const Bits* bias, Sizes s) {
  Chunk* shared = shared_memory();
  const int warp = thread() / 32, lane = thread() % 32, n = lane / 4, t = lane % 4;
  int tile = program_x();
  const int column0 = tile % s.tiles_x * (NARROW ? 8 : 16);
  const int row0 = tile / s.tiles_x % s.tiles_y * (WARPS * ROWS);
  tile /= s.tiles_x * s.tiles_y;
  const int px = tile % s.PX, py = tile / s.PX % s.PY, image = tile / (s.PX * s.PY) * (NARROW ? 2 : 1);

  Program p{x, weight, s, warp, lane, image, (py + s.PY * row0) * s.SH - s.PH, (px + s.PX * column0) * s.SW - s.PW};
#pragma unroll
  for (int part = 0; part < PARTS; ++part) {
    int i = part * 32 + lane, column = i / CHUNKS, parity = column / (HALVES * 8), j = column % (HALVES * 8);
    int next = NARROW ? j / 16 : 0;
    int from = p.left + (TX * (j - 16 * next) + parity) * s.DW;
    bool exists = i < LINE && from >= 0 && from < s.W && image + next < s.B;
    p.from[part] = exists ? (next * s.H * s.W + from) * s.C + i % CHUNKS * 8 : -1;
  }

  const int blocks = s.C / WIDTH, first = program_y() * s.blocks;
  const int end = first + s.blocks < blocks ? first + s.blocks : blocks;
  p.copy(shared, first * WIDTH);

  // The features of this lane's outputs, one in each eight of a row, and where the outputs are.
  unsigned features[ROWS][PRODUCTS][4];
  Bits* to[2];
  bool exists[2];
  const int row = py + s.PY * (row0 + warp * ROWS), rows = (s.Ho - row + s.PY - 1) / s.PY, line_of_y = s.PY * s.Wo * s.C;
#pragma unroll
  for (int eight = 0; eight < 2; ++eight) {
    int column = px + s.PX * (column0 + (NARROW ? 0 : 8 * eight) + n), in = image + (NARROW ? eight : 0);
    size_t pixel = ((size_t)in * s.Ho + row) * s.Wo + column;
    exists[eight] = column < s.Wo && in < s.B;
    to[eight] = y + pixel * s.C + 2 * t;
#pragma unroll
    for (int i = 0; i < ROWS * PRODUCTS * 2; ++i) {
      int o = i / (PRODUCTS * 2), r = i % (PRODUCTS * 2) * 8 + 2 * t;
      const Bits* from = reduced + (pixel + o * s.PY * s.Wo) * s.R + r;
      features[o][i / 2 % PRODUCTS][i % 2 * 2 + eight] = exists[eight] && o < rows && r < s.R ? load_pair(from) : 0;
    }
  }

  unsigned permutations[TX][2];
#pragma unroll
  for (int i = 0; i < 2 * TX; ++i) permutations[i / 2][i % 2] = permutation(n, t + i % 2 * 8, i / 2);
  const int giver = lane / 4 * 4 + (t - n & 3);
  // Addresses for ldmatrix: lane l gives row l % 8 of the matrix l / 8.
  const int slot = lane % 8, chunk = lane / 8 % 2;
  const int from_x = (warp * ROWS * TY * COLUMNS + lane / 16 * 8 + column_of_slot(slot)) * CHUNKS + (chunk ^ slot) % CHUNKS;
  const int from_weights = LINES * LINE + tap_of_slot(slot) * PITCH + chunk;

  for (int block = first; block < end; ++block) {
    const Chunk* buffer = shared + (block - first) % 2 * BUFFER;
    finish_copies();
    synchronize();  // the copies of all threads are there, and none still reads the other buffer
    if (block + 1 < end) p.copy(shared + (block + 1 - first) % 2 * BUFFER, (block + 1) * WIDTH);

    unsigned pixels[WINDOW_LINES][TX][2][4];  // 16 channels by 16 columns for each eight outputs
#pragma unroll
    for (int i = 0; i < WINDOW_LINES * TX * 2; ++i)
      load_matrices_transposed(pixels[i / 2 / TX][i / 2 % TX][i % 2],
                               buffer + from_x + (i / 2 * HALVES + i % 2 * STEP) * 8 * CHUNKS);

    Sums sums[ROWS][2] = {};
#pragma unroll
    for (int u = 0; u < KH; ++u) {
      unsigned weights[PRODUCTS][2];
#pragma unroll
      for (int i = 0; i < PRODUCTS; ++i)
        load_two_matrices(weights[i], buffer + from_weights + u * KW * PITCH + 2 * i);
      float low = 0, high = 0;
      if (BIASED) {
        const Bits* taps = bias + (block * WIDTH / s.D * KH + u) * KW;
        low = load_value(taps + tap_of_slot(2 * t) % KW);  // no band contains taps from KW on
        high = load_value(taps + tap_of_slot(2 * t + 1) % KW);
      }
#pragma unroll
      for (int o = 0; o < ROWS; ++o) {
        Sums taps = {low, high, low, high};
#pragma unroll
        for (int i = 0; i < PRODUCTS; ++i) taps = multiply(features[o][i], weights[i], taps);
#pragma unroll
        for (int eight = 0; eight < 2; ++eight) {
          unsigned pair = shuffle(pack(taps.at[2 * eight], taps.at[2 * eight + 1]), giver);
#pragma unroll
          for (int parity = 0; parity < TX; ++parity) {
            unsigned band[2];
            for (int i = 0; i < 2; ++i) band[i] = permute(pair, permutations[parity][i]);
            sums[o][eight] = multiply(pixels[TY * o + u][parity][eight], band, sums[o][eight]);
          }
        }
      }
    }

#pragma unroll
    for (int o = 0; o < ROWS; ++o) {
#pragma unroll
      for (int i = 0; i < 2 * CHUNKS; ++i) {
        int eight = i / CHUNKS, half = i % CHUNKS;
        unsigned pair = transpose(pack(sums[o][eight].at[2 * half], sums[o][eight].at[2 * half + 1]));
        if (o < rows && exists[eight]) store_pair(to[eight] + o * line_of_y + block * WIDTH + half * 8, pair);
      }
    }
  }
}
