/* A 3x3 convolution of stride 1 of images with one to three channels, the ReLU behind it, and the gradients of both, in bfloat16
   with sums in float32. So few channels leave the kernels for many idle; here a vector is 16 output channels of one place, and
   what is written is written once. Needs AVX512 with BF16, which rounds 16 floats at a time. */

#ifndef __AVX512BF16__
#error "This processor does not round to bfloat16."
#endif

#include <immintrin.h>
#include <omp.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 16, SIDE = 3, MOST_TOGETHER = 8, ROOM = 24 };

typedef uint16_t bfloat16;

static inline __m512 widened(__m256i halves) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16)); /* the upper half of a float32 */
}

static inline __m256i loaded(const bfloat16 *from) { return _mm256_loadu_si256((const __m256i *)from); }

/* The three rows that a row of the answer sees, as floats with P zeros on both sides. */
static void widen_rows(const bfloat16 *image, float *rows, int64_t row, int64_t H, int64_t W, int64_t I, int64_t P) {
    int64_t width = (W + 2 * P) * I;
    for (int64_t y = 0; y < SIDE; y++, rows += width) {
        int64_t h = row + y - P;
        memset(rows, 0, width * sizeof(float));
        for (int64_t n = 0; h >= 0 && h < H && n < W * I; n++) {
            uint32_t bits = (uint32_t)image[h * W * I + n] << 16;
            memcpy(rows + P * I + n, &bits, sizeof bits);
        }
    }
}

/* `count` places of a row, 16 output channels: weight (3 3 I 16), O from one to the next of the 3 3 I and of the places. */
static inline __attribute__((always_inline)) void convolve_row(const float *rows, const float *weight, __m512 bias,
                                                               bfloat16 *answer, int64_t count, int64_t width, int64_t O,
                                                               const int I) {
    const int together = I == 3 ? 4 : MOST_TOGETHER; /* sums, beside the kernel in registers */
    __m512 kernel[SIDE * SIDE * 3];
#pragma GCC unroll 27
    for (int n = 0; n < SIDE * SIDE * I; n++) kernel[n] = _mm512_loadu_ps(weight + n * O);
    for (int64_t first = 0; first < count; first += together) {
        int64_t at = first + together > count && count >= together ? count - together : first; /* the last ones twice */
        int64_t places = count < together ? count : together;
        __m512 sums[MOST_TOGETHER];
#pragma GCC unroll 8
        for (int place = 0; place < together; place++) sums[place] = bias;
#pragma GCC unroll 3
        for (int y = 0; y < SIDE; y++) {
#pragma GCC unroll 9
            for (int n = 0; n < SIDE * I; n++) {
#pragma GCC unroll 8
                for (int place = 0; place < together; place++) {
                    __m512 value = _mm512_set1_ps(rows[y * width + (at + place) * I + n]);
                    sums[place] = _mm512_fmadd_ps(value, kernel[y * SIDE * I + n], sums[place]);
                }
            }
        }
#pragma GCC unroll 8
        for (int place = 0; place < together; place++) {
            __m512 positive = _mm512_max_ps(_mm512_setzero_ps(), sums[place]); /* the second of the two where one is NaN */
            if (place < places)
                _mm256_storeu_si256((__m256i *)(answer + (at + place) * O), (__m256i)_mm512_cvtneps_pbh(positive));
        }
    }
}

/* Adds to the gradients of weight (3 3 I 16) and bias (16) what `count` places of a row bring. */
static inline __attribute__((always_inline)) void add_row(const float *rows, const bfloat16 *answer,
                                                          const bfloat16 *gradients, float *weight, float *bias, int64_t count,
                                                          int64_t width, int64_t O, const int I) {
    __m512 sums[SIDE * SIDE * 3], all = _mm512_loadu_ps(bias);
#pragma GCC unroll 27
    for (int n = 0; n < SIDE * SIDE * I; n++) sums[n] = _mm512_loadu_ps(weight + n * O);
    for (int64_t place = 0; place < count; place++) {
        __m256i value = loaded(answer + place * O), magnitude = _mm256_and_si256(value, _mm256_set1_epi16(0x7fff));
        __mmask16 passed = _mm256_cmpgt_epi16_mask(value, _mm256_setzero_si256());
        passed |= _mm256_cmpgt_epi16_mask(magnitude, _mm256_set1_epi16(0x7f80)); /* NaN of either sign, as torch has it */
        __m512 gradient = widened(_mm256_maskz_mov_epi16(passed, loaded(gradients + place * O)));
        all = _mm512_add_ps(all, gradient);
#pragma GCC unroll 3
        for (int y = 0; y < SIDE; y++) {
#pragma GCC unroll 9
            for (int n = 0; n < SIDE * I; n++) {
                __m512 pixel = _mm512_set1_ps(rows[y * width + place * I + n]);
                sums[y * SIDE * I + n] = _mm512_fmadd_ps(pixel, gradient, sums[y * SIDE * I + n]);
            }
        }
    }
    _mm512_storeu_ps(bias, all);
#pragma GCC unroll 27
    for (int n = 0; n < SIDE * SIDE * I; n++) _mm512_storeu_ps(weight + n * O, sums[n]);
}

/* images (B H W I), weight (3 3 I O), bias (O), answer (B H2 W2 O); `rows` has 3 (W + 2 P) I + 24 floats for each thread.
   I is at most 3; O is a multiple of 16. */
void image_convolution(const bfloat16 *images, const float *weight, const float *bias, bfloat16 *answer, float *rows, int64_t B,
                       int64_t H, int64_t W, int64_t I, int64_t O, int64_t P, int threads) {
    int64_t height = H + 2 * P - 2, count = W + 2 * P - 2, width = (W + 2 * P) * I;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < B * height; row++) {
        float *own = rows + omp_get_thread_num() * (SIDE * width + ROOM);
        widen_rows(images + row / height * H * W * I, own, row % height, H, W, I, P);
        for (int64_t o = 0; o < O; o += LANES) {
            bfloat16 *to = answer + row * count * O + o;
            __m512 start = _mm512_loadu_ps(bias + o);
            if (I == 1)
                convolve_row(own, weight + o, start, to, count, width, O, 1);
            else if (I == 2)
                convolve_row(own, weight + o, start, to, count, width, O, 2);
            else
                convolve_row(own, weight + o, start, to, count, width, O, 3);
        }
    }
}

/* The gradients of weight and bias, joined (9 I O + O); `sums` has as many for each thread. */
void image_convolution_gradient(const bfloat16 *images, const bfloat16 *answer, const bfloat16 *gradients, float *joined,
                                float *sums, float *rows, int64_t B, int64_t H, int64_t W, int64_t I, int64_t O, int64_t P,
                                int threads) {
    int64_t height = H + 2 * P - 2, count = W + 2 * P - 2, width = (W + 2 * P) * I;
    int64_t weights = SIDE * SIDE * I * O, each = weights + O;
#pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num();
        float *own = rows + thread * (SIDE * width + ROOM), *sum = sums + thread * each;
        memset(sum, 0, each * sizeof(float));
#pragma omp single
        threads = omp_get_num_threads(); /* fewer may have been given than asked for */
        for (int64_t row = B * height * thread / threads; row < B * height * (thread + 1) / threads; row++) {
            widen_rows(images + row / height * H * W * I, own, row % height, H, W, I, P);
            for (int64_t o = 0; o < O; o += LANES) {
                const bfloat16 *a = answer + row * count * O + o, *g = gradients + row * count * O + o;
                float *weight = sum + o, *bias = sum + weights + o;
                if (I == 1)
                    add_row(own, a, g, weight, bias, count, width, O, 1);
                else if (I == 2)
                    add_row(own, a, g, weight, bias, count, width, O, 2);
                else
                    add_row(own, a, g, weight, bias, count, width, O, 3);
            }
        }
#pragma omp barrier
        for (int64_t n = each * thread / threads; n < each * (thread + 1) / threads; n++) {
            float total = 0;
            for (int of = 0; of < threads; of++) total += sums[of * each + n];
            joined[n] = total;
        }
    }
}
