// The primitives of src/involution/ops/cuda/band/warp.cuh on a CPU: a fiber for each of 128 threads. A collective of a
// warp or program waits until all its threads have reached the same one. Addresses and shared memory are checked.

#include <csetjmp>
#include <cstdint>
#include <cstring>
#include <ucontext.h>
#include <vector>

#define device inline
#define kernel static

typedef uint16_t Bits;
struct Chunk { Bits numbers[8]; };
struct Sums { float at[4]; };
struct Range { const char *begin, *end; };

constexpr int THREADS = 128;
struct Fiber {
  ucontext_t start;
  jmp_buf here;
  bool begun = false, ended = false;
  std::vector<char> stack = std::vector<char>(1 << 17);
};
static Fiber fibers[THREADS];
static jmp_buf scheduler;
static int now, grid_x, grid_y;
static std::vector<Chunk> shared;
static std::vector<Range> readable, writable;

static const char* failure;

// Give up with a message. Only threads call it.
static void expect(bool holds, const char* what) {
  if (holds) return;
  failure = what;
  _longjmp(scheduler, 1);
}

static void yield() {
  if (!_setjmp(fibers[now].here)) _longjmp(scheduler, 1);
}

// Threads that wait for each other. Inputs are kept for two rounds: a thread reads those of one while others write.
struct Group {
  int size, arrived = 0, round = 0;
  const char* what = nullptr;
  void meet(const char* name) {
    expect(arrived == 0 || !strcmp(what, name), "threads of a warp do different things");
    what = name;
    if (++arrived == size) arrived = 0, ++round;
    else for (int before = round; round == before;) yield();
  }
};
static Group program{THREADS}, warps[4] = {{32}, {32}, {32}, {32}};
struct Given { unsigned words[8]; const Chunk* row; };
static Given given[2][THREADS];

// Exchange words within the warp: returns what its 32 lanes gave.
static const Given* exchange(const char* name, const Given& mine) {
  Group& warp = warps[now / 32];
  int round = warp.round % 2;
  given[round][now] = mine;
  warp.meet(name);
  return given[round] + now / 32 * 32;
}

static float value_of(Bits bits) {
#if BFLOAT16
  uint32_t word = uint32_t(bits) << 16;
  float value;
  memcpy(&value, &word, 4);
  return value;
#else
  _Float16 value;
  memcpy(&value, &bits, 2);
  return value;
#endif
}

static Bits bits_of(float value) {
#if BFLOAT16
  uint32_t word;
  memcpy(&word, &value, 4);
  if (value != value) return 0x7fff;
  return (word + 0x7fff + (word >> 16 & 1)) >> 16;
#else
  _Float16 narrow = value;
  Bits bits;
  memcpy(&bits, &narrow, 2);
  return bits;
#endif
}

static void check(const std::vector<Range>& ranges, const void* p, size_t size, const char* what) {
  const char* begin = (const char*)p;
  expect((uintptr_t)begin % size == 0, "an address that is not aligned");
  for (const Range& range : ranges)
    if (begin >= range.begin && begin + size <= range.end) return;
  expect(false, what);
}

device int thread() { return now; }
device int program_x() { return grid_x; }
device int program_y() { return grid_y; }
device void synchronize() { program.meet("synchronize"); }
device Chunk* shared_memory() { return shared.data(); }

static void check_shared(const Chunk* p) {
  expect(p >= shared.data() && p < shared.data() + shared.size(), "outside of shared memory");
}

// Copies arrive as late as they may: when their thread waits for them.
struct Copy { Chunk* to; Chunk from; };
static std::vector<Copy> copies[THREADS];
device void copy_async(Chunk* to, const Bits* from, bool exists) {
  check_shared(to);
  if (exists) check(readable, from, 16, "copied from outside of all tensors");
  Copy copy{to, {}};
  if (exists) memcpy(&copy.from, from, 16);
  copies[now].push_back(copy);
}
device void end_of_copy() {}
device void finish_copies() {
  for (const Copy& copy : copies[now]) *copy.to = copy.from;
  copies[now].clear();
}

device unsigned load_pair(const Bits* p) {
  check(readable, p, 4, "loaded from outside of all tensors");
  unsigned pair;
  memcpy(&pair, p, 4);
  return pair;
}
device void store_pair(Bits* p, unsigned pair) {
  check(writable, p, 4, "stored outside of y");
  memcpy(p, &pair, 4);
}
device float load_value(const Bits* p) {
  check(readable, p, 2, "loaded from outside of all tensors");
  return value_of(*p);
}

device unsigned pack(float low, float high) { return bits_of(low) | unsigned(bits_of(high)) << 16; }
device unsigned shuffle(unsigned value, int lane) { return exchange("shuffle", {{value}})[lane].words[0]; }
device unsigned permute(unsigned value, unsigned bytes) {
  uint64_t both = value;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) result |= unsigned(both >> 8 * (bytes >> 4 * i & 7) & 255) << 8 * i;
  return result;
}

device Bits half(unsigned word, int i) { return word >> 16 * i; }
device unsigned transpose(unsigned pair) {
  const Given* all = exchange("transpose", {{pair}});
  int i = now % 32 / 4, j = now % 4;
  Bits low = half(all[8 * j + i / 2].words[0], i % 2), high = half(all[8 * j + 4 + i / 2].words[0], i % 2);
  return low | unsigned(high) << 16;
}

// Matrix number `which`, of this lane; rows of a matrix must lie in different banks.
static unsigned of_matrix(const Given* all, int which, bool transposed) {
  int i = now % 32 / 4, j = now % 4;
  unsigned banks = 0;
  for (int row = 0; row < 8; ++row) {
    check_shared(all[8 * which + row].row);
    banks |= 1 << (all[8 * which + row].row - shared.data()) % 8;
  }
  expect(banks == 255, "conflict of banks");
  const Given* rows = all + 8 * which;
  Bits low = transposed ? rows[2 * j].row->numbers[i] : rows[i].row->numbers[2 * j];
  Bits high = transposed ? rows[2 * j + 1].row->numbers[i] : rows[i].row->numbers[2 * j + 1];
  return low | unsigned(high) << 16;
}
device void load_two_matrices(unsigned (&m)[2], const Chunk* row) {
  const Given* all = exchange("ldmatrix.x2", {{}, row});
  for (int i = 0; i < 2; ++i) m[i] = of_matrix(all, i, false);
}
device void load_matrices_transposed(unsigned (&m)[4], const Chunk* row) {
  const Given* all = exchange("ldmatrix.x4.trans", {{}, row});
  for (int i = 0; i < 4; ++i) m[i] = of_matrix(all, i, true);
}

// The fragments of mma.m16n8k16, from PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
device Sums multiply(const unsigned (&a)[4], const unsigned (&b)[2], const Sums& c) {
  Sums sums = c;
  const Given* all = exchange("mma", {{a[0], a[1], a[2], a[3], b[0], b[1]}});
  for (int element = 0; element < 4; ++element) {
    int row = now % 32 / 4 + element / 2 * 8, column = now % 4 * 2 + element % 2;
    for (int k = 0; k < 16; ++k) {
      const Given &of_a = all[row % 8 * 4 + k % 8 / 2], &of_b = all[column * 4 + k % 8 / 2];
      Bits left = half(of_a.words[row / 8 + k / 8 * 2], k % 2), right = half(of_b.words[4 + k / 8], k % 2);
      sums.at[element] += value_of(left) * value_of(right);
    }
  }
  return sums;
}

static void (*body)();
static void enter() {
  body();
  fibers[now].ended = true;
  _longjmp(scheduler, 1);
}

// Run one program with all its threads.
static void run_program(void (*work)(), size_t chunks) {
  Chunk poison;
  memset(&poison, 255, sizeof poison);  // NaN
  shared.assign(chunks, poison);
  body = work;
  for (Fiber& fiber : fibers) fiber.begun = fiber.ended = false;
  for (int left = THREADS, rounds = 0; left && !failure; ++rounds) {
    if (rounds == 1 << 20) failure = "threads wait for each other";
    for (volatile int i = 0; i < THREADS && !failure; i = i + 1) {
      Fiber& fiber = fibers[i];
      if (fiber.ended) continue;
      now = i;
      if (!_setjmp(scheduler)) {
        if (fiber.begun) _longjmp(fiber.here, 1);
        fiber.begun = true;
        getcontext(&fiber.start);
        fiber.start.uc_stack.ss_sp = fiber.stack.data();
        fiber.start.uc_stack.ss_size = fiber.stack.size();
        makecontext(&fiber.start, enter, 0);
        setcontext(&fiber.start);
      }
      left -= fiber.ended;
    }
  }
}
