/* The gradient of the weight and the bias of a 3x3 convolution of stride 1, for channels-last images and gradients in bfloat16,
   summed in float32. For processors that multiply pairs of bfloat16 (AVX512-BF16): two neighbours in a row are a pair here.

       weight[o][y][x][i] = sum over images and rows h and columns w of  gradient[h][w][o] * image[h + y - P][w + x - P][i]

   Each thread takes a share of the images, some rows at a time: as many as fit into its second-level cache once they are
   packed by pairs. A tile of 8 output channels, one row of the kernel and 16 input channels is 24 registers of sums, which stay
   where they are while the packed rows pass. The column in the middle of the kernel meets pairs that begin at odd columns, so
   images are packed twice. Nothing is written but what the caller hands over. */

#ifndef __AVX512BF16__
#error "This processor does not multiply bfloat16."
#endif
#ifdef __AMX_BF16__
#error "oneDNN multiplies whole tiles of bfloat16 here, which is faster."
#endif

#include <immintrin.h>
#include <omp.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 16, OUTPUTS = 8, SIDE = 3 };

typedef uint16_t bfloat16;
typedef uint32_t Pair; /* of bfloat16, the left one in the lower half */

typedef struct {
    int64_t images, rows; /* in a block, at most */
    int64_t even, odd, gradients; /* pairs of one image of a block: in 16 channels twice, in 8 channels */
} Block;

static inline __m512i loaded(const bfloat16 *from) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from)); }

static inline __m512i in_upper_half(__m512i halves) { return _mm512_slli_epi32(halves, 16); }

static inline __m512i paired(__m512i left, __m512i right) { return _mm512_or_si512(left, in_upper_half(right)); }

/* 16 channels of some rows of an image with P zeros on both sides, (rows W I), to (rows pairs + 1, 16) and (rows pairs 16). */
static void pack_image(const bfloat16 *image, Pair *even, Pair *odd, int64_t rows, int64_t pairs, int64_t W, int64_t I,
                       int64_t P) {
#define COLUMN(c) ((c) >= P && (c) < W + P ? loaded(row + ((c) - P) * I) : _mm512_setzero_si512())
    for (int64_t h = 0; h < rows; h++) {
        const bfloat16 *row = image + h * W * I;
        __m512i at = COLUMN(0);
        for (int64_t pair = 0; pair < pairs; pair++, even += LANES, odd += LANES) {
            __m512i next = COLUMN(2 * pair + 1), after = COLUMN(2 * pair + 2);
            _mm512_store_si512(even, paired(at, next));
            _mm512_store_si512(odd, paired(next, after));
            at = after;
        }
        _mm512_store_si512(even, paired(at, COLUMN(2 * pairs + 1)));
        even += LANES;
    }
#undef COLUMN
}

/* 16 channels of some rows of gradients, (rows W O), to two times (rows pairs 8); adds them to the bias's sums. */
static void pack_gradients(const bfloat16 *gradients, Pair *first, Pair *second, float *sums, int64_t rows, int64_t pairs,
                           int64_t W, int64_t O) {
    __m512 lefts = _mm512_loadu_ps(sums), rights = _mm512_setzero_ps();
    for (int64_t h = 0; h < rows; h++) {
        const bfloat16 *row = gradients + h * W * O;
        for (int64_t pair = 0; pair < pairs; pair++, first += OUTPUTS, second += OUTPUTS) {
            __m512i left = loaded(row + 2 * pair * O);
            __m512i right = 2 * pair + 1 < W ? loaded(row + (2 * pair + 1) * O) : _mm512_setzero_si512();
            __m512i both = paired(left, right);
            _mm256_store_si256((__m256i *)first, _mm512_castsi512_si256(both));
            _mm256_store_si256((__m256i *)second, _mm512_extracti64x4_epi64(both, 1));
            lefts = _mm512_add_ps(lefts, _mm512_castsi512_ps(in_upper_half(left))); /* the bits of a float32 */
            rights = _mm512_add_ps(rights, _mm512_castsi512_ps(in_upper_half(right)));
        }
    }
    _mm512_storeu_ps(sums, _mm512_add_ps(lefts, rights));
}

/* Adds to 8 x 3 x 16 sums, `apart` from one output channel to the next and I from one column of the kernel to the next. */
static void add_tile(float *sums, int64_t apart, int64_t I, const Pair *even, const Pair *odd, const Pair *gradients,
                     const Block *block, int64_t images, int64_t rows, int64_t pairs) {
    __m512 tile[OUTPUTS][SIDE];
#pragma GCC unroll 8
    for (int o = 0; o < OUTPUTS; o++) {
#pragma GCC unroll 3
        for (int x = 0; x < SIDE; x++) tile[o][x] = _mm512_loadu_ps(sums + o * apart + x * I);
    }
    for (int64_t image = 0; image < images; image++) {
        const Pair *e = even + image * block->even, *d = odd + image * block->odd, *g = gradients + image * block->gradients;
        for (int64_t h = 0; h < rows; h++, e += LANES) {
            __m512bh left = (__m512bh)_mm512_load_si512(e);
            for (int64_t pair = 0; pair < pairs; pair++, d += LANES, g += OUTPUTS) {
                e += LANES;
                __m512bh middle = (__m512bh)_mm512_load_si512(d), right = (__m512bh)_mm512_load_si512(e);
#pragma GCC unroll 8
                for (int o = 0; o < OUTPUTS; o++) {
                    __m512bh gradient = (__m512bh)_mm512_set1_epi32((int)g[o]);
                    tile[o][0] = _mm512_dpbf16_ps(tile[o][0], left, gradient);
                    tile[o][1] = _mm512_dpbf16_ps(tile[o][1], middle, gradient);
                    tile[o][2] = _mm512_dpbf16_ps(tile[o][2], right, gradient);
                }
                left = right;
            }
        }
    }
#pragma GCC unroll 8
    for (int o = 0; o < OUTPUTS; o++) {
#pragma GCC unroll 3
        for (int x = 0; x < SIDE; x++) _mm512_storeu_ps(sums + o * apart + x * I, tile[o][x]);
    }
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* The blocks that images are taken in, so that a block's pairs are at most so many; and how many pairs it has room for. */
static Block block_of(int64_t H, int64_t W, int64_t I, int64_t O, int64_t P, int64_t B, int64_t room) {
    int64_t rows = H + 2 * P - 2, pairs = (W + 2 * P - 1) / 2;
    int64_t of_image = (2 * pairs + 1) * I, of_gradient = pairs * O; /* pairs of a row */
    Block block = {.images = 1, .rows = rows};
    if (H * of_image + rows * of_gradient > room)
        block.rows = most(1, (room - 2 * of_image) / (of_image + of_gradient));
    else
        block.images = most(1, least(B, room / (H * of_image + rows * of_gradient)));
    int64_t of_block = least(H, block.rows + 2);
    block.even = of_block * (pairs + 1) * LANES, block.odd = of_block * pairs * LANES;
    block.gradients = block.rows * pairs * OUTPUTS;
    return block;
}

static int64_t size_of(const Block *block, int64_t I, int64_t O) {
    return block->images * ((block->even + block->odd) * (I / LANES) + block->gradients * (O / OUTPUTS));
}

/* How many pairs of memory a thread needs beside its sums. */
int64_t pairs_of_a_thread(int64_t B, int64_t H, int64_t W, int64_t I, int64_t O, int64_t P, int64_t room) {
    Block block = block_of(H, W, I, O, P, B, room);
    return size_of(&block, I, O);
}

/* images (B H W I), gradients (B H2 W2 O), weight (O 3 3 I), bias (O), sums (threads, 9 I O + O), and `packed`, `pairs_of_a_thread`
   for each thread and 16 more. I and O are multiples of 16; P is at most 2. */
void weight_gradient(const bfloat16 *images, const bfloat16 *gradients, float *weight, float *bias, float *sums, Pair *packed,
                     int64_t B, int64_t H, int64_t W, int64_t I, int64_t O, int64_t P, int64_t room, int threads) {
    int64_t height = H + 2 * P - 2, width = W + 2 * P - 2, pairs = (width + 1) / 2;
    int64_t weights = O * SIDE * SIDE * I, each = weights + O;
    Block block = block_of(H, W, I, O, P, B, room);
    packed = (Pair *)(((uintptr_t)packed + 63) / 64 * 64); /* where whole vectors begin */
#pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num();
#pragma omp single
        threads = omp_get_num_threads(); /* fewer may have been given than asked for */
        float *own = sums + thread * each;
        memset(own, 0, each * sizeof(float));
        Pair *even = packed + thread * size_of(&block, I, O);
        Pair *odd = even + block.images * block.even * (I / LANES);
        Pair *grads = odd + block.images * block.odd * (I / LANES);
        int64_t end = B * (thread + 1) / threads;
        for (int64_t first = B * thread / threads; first < end; first += block.images) {
            int64_t count = least(block.images, end - first);
            for (int64_t top = 0; top < height; top += block.rows) {
                int64_t bottom = least(height, top + block.rows);
                int64_t above = most(0, top - P), below = least(H, bottom + 2 - P); /* the rows of images that these see */
                for (int64_t n = 0; n < count; n++) {
                    const bfloat16 *image = images + ((first + n) * H + above) * W * I;
                    for (int64_t v = 0; v < I / LANES; v++)
                        pack_image(image + v * LANES, even + (v * block.images + n) * block.even,
                                   odd + (v * block.images + n) * block.odd, below - above, pairs, W, I, P);
                    const bfloat16 *gradient = gradients + ((first + n) * height + top) * width * O;
                    for (int64_t v = 0; v < O / LANES; v++) {
                        Pair *to = grads + (2 * v * block.images + n) * block.gradients;
                        pack_gradients(gradient + v * LANES, to, to + block.images * block.gradients, own + weights + v * LANES,
                                       bottom - top, pairs, width, O);
                    }
                }
                for (int64_t y = 0; y < SIDE; y++) {
                    int64_t from = most(top, P - y), until = least(bottom, H + P - y); /* beyond are zeros */
                    int64_t at = from + y - P - above;
                    for (int64_t v = 0; until > from && v < I / LANES; v++)
                        for (int64_t o = 0; o < O / OUTPUTS; o++)
                            add_tile(own + (o * OUTPUTS * SIDE + y) * SIDE * I + v * LANES, SIDE * SIDE * I, I,
                                     even + v * block.images * block.even + at * (pairs + 1) * LANES,
                                     odd + v * block.images * block.odd + at * pairs * LANES,
                                     grads + o * block.images * block.gradients + (from - top) * pairs * OUTPUTS, &block, count,
                                     until - from, pairs);
                }
            }
        }
#pragma omp barrier
        for (int64_t n = each * thread / threads; n < each * (thread + 1) / threads; n++) {
            float sum = 0;
            for (int of = 0; of < threads; of++) sum += sums[of * each + n];
            *(n < weights ? weight + n : bias + n - weights) = sum;
        }
    }
}
